"""The report on a run's checkpoints: previews and measurements of each, and which one is recommended.

Kept in `training.json` as `board`, with paths relative to the result's folder. No torch in here: the page
reads it. The measuring is done in training/evaluation/checkpoint_scores.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from lora_studio.files import write_atomically
from lora_studio.lora.lora_folder import NOTES, read_notes
from lora_studio.parsing.plain_text import is_plain, plain_text

KEY = "board"
ENOUGH = 0.03
"""Scores this close are equal; the earlier checkpoint wins, since less training forgets less."""
MOST_ROWS, MOST_TEXTS, LONGEST_TEXT, LONGEST_PATH, LARGEST = 1000, 200, 2000, 200, 10**12
"""Bounds of a report in a file."""
NOTABLE = 0.05
"""Differences below this are not worth a word."""
LEARNED_NOTHING = (
    "The pictures of all checkpoints look like the base's own: nothing that shows was learned. Train longer, "
    "or raise the learning rate."
)
CLOSENESS = ((NOTABLE, "like the base's"), (0.15, "a little like yours"), (0.3, "like yours"))
"""Upper limits of likeness, and the words for it."""
ALL_BUT_EQUAL = "very like yours"
"""Words for a likeness above all limits. Likeness is a mean over prompts: the tour's alien, which nobody can
tell from the pictures it was trained on, reaches 0.37 of the pictures' likeness among themselves."""


@dataclass(frozen=True, kw_only=True)
class CheckpointRow:
    """One checkpoint. `pictures` follow the board's prompts, `without` is of the prompt without the trigger;
    pictures not drawn are empty, measures not taken None.

    `likeness` is 0 for the base's own pictures and 1 for the training pictures among themselves; `adherence`
    is 1 where each picture clearly fits its own prompt best and 0 where they can't be told apart. Higher is
    better for both. `leak` is 0 where the prompt without the trigger gives the base's own picture and 1 where
    it gives one as different as that of another prompt; lower is better.
    """

    step: int
    pictures: tuple[str, ...] = ()
    without: str = ""
    likeness: float | None = None
    adherence: float | None = None
    leak: float | None = None
    validation_loss: float | None = None


@dataclass(frozen=True, kw_only=True)
class CheckpointReport:
    """The checkpoints of a run, in order. `base` are the base's pictures of `prompts`; `recommended` is a
    step, 0 when nothing speaks for any; `notes` are sentences on missing measurements."""

    prompts: tuple[str, ...]
    base: tuple[str, ...]
    rows: tuple[CheckpointRow, ...]
    without_prompt: str = ""
    without_base: str = ""
    base_loss: float | None = None
    recommended: int = 0
    reason: str = ""
    notes: tuple[str, ...] = ()

    def row(self, step: int) -> CheckpointRow | None:
        return next((row for row in self.rows if row.step == step), None)


def score(row: CheckpointRow, board: CheckpointReport) -> float:
    """The checkpoint's score, higher is better. Likeness counts once; adherence, leak and validation loss
    half, since each of them is a guard against too much likeness."""
    total = min(max(row.likeness or 0.0, -0.5), 1.2)
    total += 0.5 * min(row.adherence or 0.0, 1.2) - 0.5 * min(row.leak or 0.0, 1.0)
    return total + 0.5 * _validation_gain(row, board)


def recommend(board: CheckpointReport) -> tuple[int, str]:
    """(step, the reason in a sentence); (0, "") if nothing was measured, 0 and why if nothing learned."""
    measured = [row for row in board.rows if _measured(row)]
    if not measured:
        return 0, ""
    near = [row.likeness for row in measured if row.likeness is not None]
    if near and max(near) < NOTABLE:
        return 0, LEARNED_NOTHING if len(board.prompts) > 1 else ""  # one picture alone says too little
    best = max(score(row, board) for row in measured)
    chosen = next(row for row in measured if score(row, board) >= best - ENOUGH)
    notable = [*_likeness(chosen, measured), *_guards(chosen, measured)]
    otherwise = (
        "it has the best balance of all" if len(measured) > 1 else "it is the only one that was measured"
    )
    reasons = "; ".join(notable) or otherwise
    return chosen.step, f"Step {chosen.step} is recommended: {reasons}."


def read_report(folder: Path | str) -> CheckpointReport | None:
    """The board of a result folder; None when it has none that can be read."""
    data = read_notes(Path(folder)).get(KEY)
    try:
        return _from_json(data) if isinstance(data, Mapping) else None
    except (TypeError, ValueError, KeyError, AttributeError):
        return None


def write_report(folder: Path, board: CheckpointReport) -> None:
    """Add the board to the folder's `training.json`. Raises OSError."""
    notes = {**read_notes(folder), KEY: asdict(board)}
    write_atomically(folder / NOTES, json.dumps(notes, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _from_json(data: Mapping[str, Any]) -> CheckpointReport:
    """The report in a file, which may be a stranger's: values that are none of its kind are left out."""
    texts = ("without_prompt", "reason")
    return CheckpointReport(
        rows=tuple(map(_row_from_json, data["rows"][:MOST_ROWS])),
        prompts=_texts(data, "prompts"),
        notes=_texts(data, "notes"),
        base=tuple(map(_inside, _texts(data, "base"))),
        without_base=_inside(data.get("without_base")),
        base_loss=_number(data.get("base_loss")),
        recommended=_step(data.get("recommended", 0)),
        **{name: plain_text(data.get(name), LONGEST_TEXT) for name in texts},
    )


def _row_from_json(row: Mapping[str, Any]) -> CheckpointRow:
    measures = ("likeness", "adherence", "leak", "validation_loss")
    return CheckpointRow(
        step=_step(row["step"]),
        pictures=tuple(map(_inside, _texts(row, "pictures"))),
        without=_inside(row.get("without")),
        **{name: _number(row.get(name)) for name in measures},
    )


def _texts(data: Mapping[str, Any], name: str) -> tuple[str, ...]:
    return tuple(plain_text(one, LONGEST_TEXT) for one in list(data.get(name, ()))[:MOST_TEXTS])


def _inside(given: Any) -> str:
    """A path that leads to something below the result's folder; empty for any other."""
    path = PurePosixPath(given) if isinstance(given, str) and len(given) <= LONGEST_PATH else PurePosixPath()
    is_inside = is_plain(str(path)) and "\\" not in str(path) and not path.is_absolute() and path.parts
    return str(path) if is_inside and ".." not in path.parts else ""


def _number(given: Any) -> float | None:
    is_number = isinstance(given, int | float) and not isinstance(given, bool)
    return float(given) if is_number and -LARGEST < given < LARGEST else None


def _step(given: Any) -> int:
    if not isinstance(given, int) or not 0 <= given < LARGEST:
        raise ValueError("no step of a run")
    return given


def _measured(row: CheckpointRow) -> bool:
    return any(value is not None for value in (row.likeness, row.adherence, row.leak, row.validation_loss))


def _validation_gain(row: CheckpointRow, board: CheckpointReport) -> float:
    """The share of the run's best gain over the base on the held-out pictures: 1 for the lowest loss, 0 for
    the base's, -1 at least."""
    losses = [other.validation_loss for other in board.rows if other.validation_loss is not None]
    if row.validation_loss is None or board.base_loss is None or not losses:
        return 0.0
    gain = board.base_loss - min(losses)
    return max(-1.0, (board.base_loss - row.validation_loss) / gain) if gain > 0 else 0.0


def _likeness(chosen: CheckpointRow, rows: Sequence[CheckpointRow]) -> list[str]:
    measured = [(min(1.0, row.likeness), -row.step) for row in rows if row.likeness is not None]
    if chosen.likeness is None or len(measured) < 2:
        return []
    most, earliest = max(measured)
    step = -earliest
    likeness = min(1.0, chosen.likeness)
    if most - likeness < NOTABLE:
        return ["its pictures are the closest to yours"]
    if most - likeness < 3 * NOTABLE:
        return [f"its pictures are nearly as close to yours as those of step {step}"]
    return [f"its pictures are not as close to yours as those of step {step}"]


def _guards(chosen: CheckpointRow, rows: Sequence[CheckpointRow]) -> list[str]:
    """Reasons why a checkpoint does notably better than the last step."""
    last, reasons = rows[-1], []
    if chosen.adherence is not None:
        if last.adherence is not None and chosen.adherence - last.adherence > NOTABLE:
            reasons.append(
                f"it keeps to the prompts better than the last step ({percent(chosen.adherence)} against "
                f"{percent(last.adherence)})"
            )
        elif chosen.adherence > 1 - 2 * NOTABLE:
            reasons.append("it keeps to the prompts")
    if chosen.leak is not None and last.leak is not None and last.leak - chosen.leak > NOTABLE:
        reasons.append(
            f"it changes other pictures less than the last step ({percent(chosen.leak)} against "
            f"{percent(last.leak)})"
        )
    losses = [row.validation_loss for row in rows if row.validation_loss is not None]
    if chosen.validation_loss is not None and len(losses) > 1 and chosen.validation_loss == min(losses):
        reasons.append("it has the lowest loss on the held-out pictures")
    return reasons


def closeness(likeness: float) -> str:
    """A likeness in words."""
    return next((word for limit, word in CLOSENESS if likeness < limit), ALL_BUT_EQUAL)


def percent(share: float) -> str:
    """`74 %`, within 0 and 100."""
    return f"{round(100 * min(1.0, max(0.0, share)))} %"


def even_choice(steps: Iterable[int], most: int) -> list[int]:
    """Steps chosen evenly, at most `most`, the last one always among them."""
    ordered = sorted(set(steps))
    if len(ordered) <= most:
        return ordered
    return [ordered[round(len(ordered) * part / most) - 1] for part in range(1, most + 1)]
