"""The checkpoint report on the page: pictures, step and verdict of each checkpoint, the numbers on request,
and a vote between them without their steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr

from lora_studio.access.visitor import Kind, visitor
from lora_studio.errors import StoreError, StudioError
from lora_studio.formatting import short
from lora_studio.lora.checkpoint_report import (
    CheckpointReport,
    CheckpointRow,
    closeness,
    percent,
    read_report,
)
from lora_studio.lora.checkpoint_vote import (
    BallotRow,
    CheckpointVote,
    ballot,
    ballot_mark,
    counted_vote,
    facts_of,
    read_vote,
)
from lora_studio.lora.checkpoints import checkpoint_files, chosen_step
from lora_studio.parsing.numbers import parse_whole
from lora_studio.studio import Studio
from lora_studio.ui.client_input.validate import QUICK, as_words, guarded, safe_slug, whole
from lora_studio.ui.widgets.html_templates import fill, panel

BOARD_JS = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-action]');
  if (!button || !element.contains(button)) return;
  const picked = [...element.querySelectorAll('fieldset.row-of-vote')]
    .map((row) => row.querySelector('input:checked')?.value ?? '');
  trigger(button.dataset.action, { ...button.dataset, picks: picked.join(',') });
});
"""
"""Script of a report: its buttons, and what was picked in each row of a vote."""
LONGEST_PICKS = 50
LETTERS = "ABCD"
VOTED_ELSEWHERE = "The pictures or their order have changed meanwhile, so nothing was counted. Pick again."


@dataclass(frozen=True, kw_only=True)
class Column:
    """A measurement: its title, its meaning, and a function that shows a row's value."""

    title: str
    meaning: str
    show: Callable[[CheckpointRow], str]


def _share(value: float | None) -> str:
    return "–" if value is None else percent(value)


COLUMNS = (
    Column(
        title="like yours",
        meaning="how far its pictures have come from the base's to yours",
        show=lambda row: "–" if row.likeness is None else closeness(row.likeness),
    ),
    Column(
        title="keeps to the prompt",
        meaning="100 % when each picture clearly fits its own prompt best",
        show=lambda row: _share(row.adherence),
    ),
    Column(
        title="changes other pictures",
        meaning="how much a picture without the trigger word has changed",
        show=lambda row: _share(row.leak),
    ),
    Column(
        title="validation loss",
        meaning="on the pictures held back; lower is better",
        show=lambda row: "–" if row.validation_loss is None else short(row.validation_loss),
    ),
)
LIKENESS_SENTENCES = {
    "like the base's": "Looks like the base's own.",
    "a little like yours": "A little like your pictures.",
    "like yours": "Like your pictures.",
    "very like yours": "Very like your pictures.",
}
ADHERENCE_SENTENCES = ((0.6, "Often misses the prompt."), (0.9, "Mostly keeps to the prompt."))
LEAK_SENTENCES = ((0.15, "Leaves other pictures alone."), (0.5, "Changes other pictures a little."))
"""Upper limits of a measurement, and the sentences for it."""


def verdict(row: CheckpointRow, report: CheckpointReport) -> list[str]:
    """The measurements of a checkpoint in sentences, those that were taken."""
    sentences = []
    if row.likeness is not None:
        sentences.append(LIKENESS_SENTENCES[closeness(row.likeness)])
    if row.adherence is not None:
        sentences.append(_sentence(row.adherence, ADHERENCE_SENTENCES, "Keeps to the prompt."))
    if row.leak is not None:
        sentences.append(_sentence(row.leak, LEAK_SENTENCES, "Changes other pictures a lot."))
    losses = [other.validation_loss for other in report.rows if other.validation_loss is not None]
    if losses.count(min(losses, default=0.0)) == 1 and row.validation_loss == min(losses):
        sentences.append("The lowest loss on the pictures held back.")
    return sentences


def _sentence(value: float, limits: Sequence[tuple[float, str]], above: str) -> str:
    return next((words for limit, words in limits if value <= limit), above)


@dataclass(frozen=True, kw_only=True)
class Changed:
    """The change that a click has just made: `before` is the step that was in use until then, `voted` are
    the rows of the vote that was just given."""

    before: int = 0
    voted: tuple[BallotRow, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ShownReport:
    """A report with its place, and what people have said of it."""

    report: CheckpointReport
    folder: Path
    slug: str
    vote: CheckpointVote = field(default_factory=CheckpointVote)

    @property
    def rows(self) -> tuple[BallotRow, ...]:
        """The rows of the next vote."""
        return ballot(self.report, self.slug, self.vote.ballots)

    @property
    def ballot_mark(self) -> str:
        """The mark of what the next vote is given on."""
        return ballot_mark(self.report, self.slug, self.vote.ballots)


def render(elem_id: str) -> gr.HTML:
    """Create the panel of a report. Call inside a Tab."""
    return panel(elem_id=elem_id, actions=BOARD_JS)


def listen(shown: gr.HTML, studio: Studio) -> Any:
    """Wire the buttons of one report. Returns the event after which the page has to be refreshed."""

    def use(event: gr.EventData) -> str:
        return board_of(studio, *put_in_use(studio, event))

    def vote(event: gr.EventData) -> str:
        return board_of(studio, *cast_vote(studio, event))

    shown.submit(guarded(vote), None, shown, **QUICK)
    return shown.click(guarded(use), None, shown, **QUICK)


def put_in_use(studio: Studio, event: gr.EventData) -> tuple[str, Changed]:
    """Make a checkpoint that was clicked the LoRA's file; returns the LoRA's slug, and the change."""
    slug, step = safe_slug(getattr(event, "slug", None)), whole(getattr(event, "step", None), "step")
    return slug, Changed(before=studio.gallery.use_checkpoint(slug, step or 0))


def cast_vote(studio: Studio, event: gr.EventData) -> tuple[str, Changed]:
    """Count the vote that was given; returns the LoRA's slug, and the change. One on pictures that are others
    by now, because somebody voted or the LoRA was trained again, is not counted: what stands there now is
    shown."""
    slug = safe_slug(getattr(event, "slug", None))
    found = _report_of(studio, slug)
    visitor().must_own(Kind.LORA, slug)
    if found is None or getattr(event, "ballot", None) != found.ballot_mark:
        gr.Warning(as_words(VOTED_ELSEWHERE), title="Not counted")
        return slug, Changed()
    picks = str(getattr(event, "picks", ""))[:LONGEST_PICKS].split(",")
    voted = counted_vote(found.vote, found.rows, [parse_whole(pick) for pick in picks])
    studio.gallery.say_of_lora(slug, "vote", facts_of(voted))
    return slug, Changed(voted=found.rows)


def board_of(studio: Studio, slug: str, changed: Changed | None = None) -> str:
    """HTML of the report of a LoRA of the library; empty when it has none."""
    found = _report_of(studio, slug)
    return view(found, changed or Changed()) if found else ""


def _report_of(studio: Studio, slug: str) -> ShownReport | None:
    try:
        record = studio.gallery.lora(slug) if slug else None
    except StoreError:
        record = None
    folder = Path(record.path).parent if record else None
    report = read_report(folder) if folder else None
    if folder is None or report is None:
        return None
    return ShownReport(report=report, folder=folder, slug=slug, vote=read_vote(folder))


def _placed(pictures: Sequence[str], report: CheckpointReport, folder: Path) -> list[Path | None]:
    """A picture for each prompt, None where there is none."""
    padded = (*pictures, *[""] * len(report.prompts))[: len(report.prompts)]
    return [_there(folder, path) for path in padded]


def _there(folder: Path, path: str) -> Path | None:
    return folder / path if path and (folder / path).is_file() else None


def view(shown: ShownReport, changed: Changed) -> str:
    """HTML of the checkpoints. Only columns with a value are among the numbers."""
    report, folder, vote = shown.report, shown.folder, shown.vote
    try:
        used = chosen_step(folder)
    except StudioError:
        used = 0
    columns = [column for column in COLUMNS if any(column.show(row) != "–" for row in report.rows)]
    liked = vote.winner
    rows: list[dict[str, Any]] = [
        {
            "row": row,
            "pictures": _placed(row.pictures, report, folder),
            "without": _there(folder, row.without),
            "values": [column.show(row) for column in columns],
            "verdict": verdict(row, report),
            "usable": row.step != used and row.step in checkpoint_files(folder),
            "is_best": row.step == (liked or report.recommended),
        }
        for row in report.rows
    ]
    for item in rows:  # nothing to judge it by: it stands apart, unless it was chosen all the same
        chosen = item["is_best"] or item["row"].step == used
        item["is_bare"] = not (chosen or any(item["pictures"]) or item["verdict"])
    return fill(
        "board",
        board=report,
        slug=shown.slug,
        base=_placed(report.base, report, folder),
        without_base=_there(folder, report.without_base),
        columns=columns,
        rows=rows,
        bare=[item for item in rows if item["is_bare"]],
        used=used,
        before=changed.before if changed.before != used else 0,
        vote=vote,
        ballot_mark=shown.ballot_mark,
        liked=liked,
        liked_count=vote.count(liked),
        ballot=[] if changed.voted else _shown_rows(shown, shown.rows),
        voted=_shown_rows(shown, changed.voted),
        letters=LETTERS,
    )


def _shown_rows(shown: ShownReport, rows: Sequence[BallotRow]) -> list[dict[str, Any]]:
    """Rows of a vote with their pictures; empty where one of them is gone."""
    picked = (*shown.vote.last, *[0] * len(rows))
    found: list[dict[str, Any]] = []
    for row, step in zip(rows, picked, strict=False):
        pictures = [_there(shown.folder, path) for path in row.pictures]
        if not all(pictures):
            return []
        pairs = list(zip(pictures, row.steps, strict=True))
        found.append({"prompt": row.prompt, "candidates": pairs, "picked": step})
    return found
