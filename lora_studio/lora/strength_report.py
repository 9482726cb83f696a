"""The report on a LoRA's strength: pictures at several weights beside the base's own of the same prompt and
seed, with measured distances and verdicts in words.

Kept in the LoRA's folder as `strength/report.json` beside small pictures. No torch in here: page, API and
command line read it. It is drawn and measured in grids/strength_drawing.py; docs/strength.md says what the
limits were measured on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, get_args

from lora_studio.lora.checkpoint_report import ALL_BUT_EQUAL, NOTABLE, closeness
from lora_studio.parsing.json_text import read_object
from lora_studio.parsing.plain_text import plain_text
from lora_studio.request import MAX_SEED

FOLDER, REPORT, SHEET = "strength", "report.json", "sheet.webp"
LONGEST_REPORT, LONGEST_PROMPT, MOST_ROWS, MOST_WEIGHTS = 1 << 20, 500, 24, 12
PICTURE = re.compile(r"[\w-]{1,60}\.webp", re.ASCII)
HASH = re.compile(r"[0-9a-f]{0,64}")
About = Literal["subject", "plain", "neighbour", "other"]
"""Subjects of a row's prompt: by its trigger word, without it, of the same kind, something else."""

SHOWS, STRONG = 0.35, 0.65
"""Change of the subject's pictures from which on a weight shows, and is strong."""
CHANGES = ((0.2, "hardly at all"), (0.4, "a little"), (0.7, "clearly"))
"""Upper limits of the change of other pictures, and the words for it."""
CHANGES_ALL = "a lot"
ALIKE = 0.4
"""Below this share of the base's own variety the pictures of different prompts look alike."""
PAST_BEST = 0.1
"""Likeness lost from its best weight to weight 1 that is worth a word."""
USUAL_WEIGHT = 1.0
LARGEST = 1e12


@dataclass(frozen=True, kw_only=True)
class StrengthRow:
    """One prompt at all weights, same seed. `pictures` are file names beside the report, empty where one
    could not be drawn. `changes` are 0 where a picture is the base's own and 1 where it is as different from
    it as the base's pictures of two prompts are; None where it was not measured."""

    about: About
    prompt: str
    pictures: tuple[str, ...]
    changes: tuple[float | None, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StrengthReport:
    """`weights` are the columns, the first is 0: the base's own picture. For each of them, `likeness` is how
    much nearer the subject's pictures are to the training pictures than the base's own, and `variety` how
    much they differ among themselves, 1 as much as the base's; None where it was not measured. `tensor_hash`
    is that of the file it was drawn with; `made_at` is in unix seconds."""

    title: str
    trigger_word: str
    base: str
    seed: int
    weights: tuple[float, ...]
    rows: tuple[StrengthRow, ...]
    likeness: tuple[float | None, ...] = ()
    variety: tuple[float | None, ...] = ()
    tensor_hash: str = ""
    made_at: float = 0.0

    def of(self, *about: About) -> tuple[StrengthRow, ...]:
        return tuple(row for row in self.rows if row.about in about)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One sentence: a template and what stands in its places. `level` is how good that is."""

    about: Literal["strength", "likeness", "trigger", "neighbours", "others", "variety"]
    level: Literal["good", "mixed", "bad"]
    template: str
    values: Mapping[str, str]

    @property
    def sentence(self) -> str:
        return self.template.format_map(self.values)


def shown_weight(weight: float) -> str:
    return f"{weight:g}"


def verdicts(report: StrengthReport) -> list[Verdict]:
    """Verdicts from the measurements, most important first; none where nothing was measured."""
    found = [
        _strength(report),
        _likeness(report),
        _variety(report),
        _trigger(report),
        _changes(
            report, "neighbours", "Without its trigger word it changes pictures of its own kind: {how}."
        ),
        _changes(report, "others", "It changes other pictures: {how}."),
    ]
    return [verdict for verdict in found if verdict]


def mean_changes(rows: Sequence[StrengthRow], count: int) -> list[float | None]:
    """The mean change of some rows at each of `count` weights."""
    return [_mean(row.changes[at : at + 1] for row in rows) for at in range(count)]


def change_word(change: float) -> str:
    """A change of other pictures in words."""
    return next((word for limit, word in CHANGES if change < limit), CHANGES_ALL)


def _strength(report: StrengthReport) -> Verdict | None:
    changes = mean_changes(report.of("subject"), len(report.weights))
    measured = [
        (weight, change)
        for weight, change in zip(report.weights, changes, strict=True)
        if change is not None and weight > 0
    ]
    if not measured:
        return None
    most = shown_weight(max(weight for weight, _ in measured))
    strong = next((weight for weight, change in measured if change >= STRONG), None)
    shows = next((weight for weight, change in measured if change >= SHOWS), None)
    if strong is not None:
        return _verdict("strength", "good", "Strong from weight {weight} on.", weight=shown_weight(strong))
    if shows is not None:
        template = "It shows from weight {weight} on, but is not strong even at {most}: train longer."
        return _verdict("strength", "mixed", template, weight=shown_weight(shows), most=most)
    template = (
        "Its pictures look like the base's own, even at weight {most}: it has learned nothing that shows."
    )
    return _verdict("strength", "bad", template, most=most)


def _likeness(report: StrengthReport) -> Verdict | None:
    measured = {
        weight: near
        for weight, near in zip(report.weights, report.likeness, strict=False)
        if near is not None and weight > 0
    }
    if not measured or max(measured.values()) < NOTABLE:
        return None  # that nothing shows is said already
    best = max(measured, key=lambda weight: (round(measured[weight], 2), -weight))
    values = {"weight": shown_weight(best), "how": closeness(measured[best])}
    usual = measured.get(USUAL_WEIGHT)
    if best < USUAL_WEIGHT and usual is not None and measured[best] - usual >= PAST_BEST:
        template = (
            "At weight {weight} its pictures are {how}, closer than at 1: it is trained a little too far."
        )
        return _verdict("likeness", "mixed", template, **values)
    good: Literal["good", "mixed"] = "good" if values["how"] in ("like yours", ALL_BUT_EQUAL) else "mixed"
    return _verdict("likeness", good, "At weight {weight} its pictures are {how}.", **values)


def _variety(report: StrengthReport) -> Verdict | None:
    at = dict(zip(report.weights, report.variety, strict=False)).get(USUAL_WEIGHT)
    if at is None or at >= ALIKE:
        return None
    template = (
        "Its pictures look alike whatever the prompt says: it is trained too far. Take a lower weight or an "
        "earlier checkpoint."
    )
    return _verdict("variety", "bad", template)


def _trigger(report: StrengthReport) -> Verdict | None:
    """Only where the word makes no difference: that is worth knowing."""
    column = _usual_column(report)
    plain, subject = (
        _mean(row.changes[column : column + 1] for row in report.of(about)) for about in ("plain", "subject")
    )
    if plain is None or subject is None or subject < STRONG or plain < 0.8 * subject:
        return None
    return _verdict("trigger", "mixed", "It works without its trigger word too.")


def _changes(report: StrengthReport, about: Literal["neighbours", "others"], template: str) -> Verdict | None:
    column = _usual_column(report)
    rows = report.of("other") if about == "others" else report.of("neighbour")
    change = _mean(row.changes[column : column + 1] for row in rows)
    if change is None:
        return None
    level: Literal["good", "mixed", "bad"]
    level = "good" if change < CHANGES[1][0] else "mixed" if change < CHANGES[2][0] else "bad"
    return _verdict(about, level, template, how=change_word(change))


def _usual_column(report: StrengthReport) -> int:
    """The column of the weight nearest to 1. The first one, the base's own, stands for no weight."""
    columns = range(1, len(report.weights)) or range(1)
    return min(columns, key=lambda at: abs(report.weights[at] - USUAL_WEIGHT))


def _verdict(about: Any, level: Any, template: str, **values: str) -> Verdict:
    return Verdict(about=about, level=level, template=template, values=values)


def _mean(columns: Iterable[Sequence[float | None]]) -> float | None:
    """The mean of what was measured; None where nothing was."""
    numbers = [value for column in columns for value in column if value is not None]
    return fmean(numbers) if numbers else None


def read_strength(lora: Path) -> StrengthReport | None:
    """The report of a LoRA's folder, as far as it can be used; None without one."""
    path = lora / FOLDER / REPORT
    try:
        with path.open("rb") as file:
            text = file.read(LONGEST_REPORT + 1).decode("utf-8", "replace")
    except OSError:
        return None
    found = read_object(text, LONGEST_REPORT)
    weights = _numbers(found.get("weights"), MOST_WEIGHTS)
    if not weights or None in weights:
        return None
    given = found.get("rows")
    rows = (
        [_row(row, len(weights)) for row in given[:MOST_ROWS] if isinstance(row, dict)]
        if isinstance(given, list)
        else []
    )
    seed, made_at, mark = found.get("seed"), found.get("made_at"), found.get("tensor_hash")
    return StrengthReport(
        **{name: plain_text(found.get(name), LONGEST_PROMPT) for name in ("title", "trigger_word", "base")},
        seed=seed if isinstance(seed, int) and 0 <= seed <= MAX_SEED else 0,
        weights=tuple(weight for weight in weights if weight is not None),
        rows=tuple(row for row in rows if row),
        likeness=_numbers(found.get("likeness"), len(weights)),
        variety=_numbers(found.get("variety"), len(weights)),
        tensor_hash=mark if isinstance(mark, str) and HASH.fullmatch(mark) else "",
        made_at=(_numbers([made_at], 1) or (None,))[0] or 0.0,
    )


def report_json(report: StrengthReport) -> str:
    """The report as its file holds it, with the verdicts for those who read only that."""
    sentences = [verdict.sentence for verdict in verdicts(report)]
    return (
        json.dumps({"version": 1, "verdicts": sentences, **asdict(report)}, indent=1, allow_nan=False) + "\n"
    )


def _row(found: Mapping[str, Any], count: int) -> StrengthRow | None:
    about = next((name for name in get_args(About) if name == found.get("about")), None)
    pictures = found.get("pictures")
    if about is None or not isinstance(pictures, list):
        return None
    names = [name if isinstance(name, str) and PICTURE.fullmatch(name) else "" for name in pictures[:count]]
    return StrengthRow(
        about=about,
        prompt=plain_text(found.get("prompt"), LONGEST_PROMPT),
        pictures=(*names, *[""] * (count - len(names))),
        changes=_numbers(found.get("changes"), count),
    )


def _numbers(given: Any, count: int) -> tuple[float | None, ...]:
    """Numbers of a size that the report has, None for anything else."""
    values = given[:count] if isinstance(given, list) else []
    return tuple(
        float(value) if isinstance(value, int | float) and -LARGEST < value < LARGEST else None
        for value in values
    )
