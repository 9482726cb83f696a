"""The gain of each picture of a run, and the pictures of which it learned least: something else may be on
them, or in their captions.

Kept in `training.json` as `pictures`. No torch in here: the page reads it. The measuring is done in
training/evaluation/picture_gains.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from lora_studio.files import write_atomically
from lora_studio.formatting import counted
from lora_studio.lora.lora_folder import NOTES, json_text, read_notes
from lora_studio.parsing.plain_text import plain_text

KEY = "pictures"
FEWEST = 5
"""Pictures without which nothing can be said of one of them."""
FAR = 3.0
"""Times the usual error above which a picture stayed far off. In clean sets the farthest were at 2.0 and 2.1,
two drawings among the pictures of a creature at 6.7 and 9.1."""
LITTLE = 0.75
"""The share of the usual gain below which such a picture gained little."""
NOTHING = 0.1
"""The share of the usual gain below which a picture never got better."""
LEARNED = 0.05
"""The usual gain from which on the run learned anything."""
LARGEST_SHARE = 0.25
"""The share of all pictures above which they are no exceptions, but a second kind of pictures."""
MOST_PICTURES, LONGEST_NAME, LARGEST_ERROR, MOST_NAMED = 1000, 400, 10**6, 3


@dataclass(frozen=True, kw_only=True)
class PictureGain:
    """Mean squared errors of one picture under its caption, of the base alone and with the LoRA. `picture` is
    its path below the folder of pictures; its name where it was edited or is from elsewhere."""

    picture: str
    before: float
    after: float

    @property
    def gain(self) -> float:
        """The share of the error that is gone; below 0 where it grew."""
        return 1 - self.after / self.before if self.before > 0 else 0.0


def far_off(gains: Sequence[PictureGain]) -> tuple[PictureGain, ...]:
    """The pictures that stayed far from what was learned, the farthest first. None where nothing was learned,
    or where they are so many that they are no exceptions."""
    if len(gains) < FEWEST:
        return ()
    error, gain = median(one.after for one in gains), median(one.gain for one in gains)
    if gain < LEARNED:
        return ()
    found = [one for one in gains if _is_far_off(one, error, gain)]
    is_few = len(found) <= LARGEST_SHARE * len(gains)
    return tuple(sorted(found, key=lambda one: -one.after)) if is_few else ()


def _is_far_off(one: PictureGain, error: float, gain: float) -> bool:
    is_far = one.after > FAR * error and one.gain < LITTLE * gain
    return is_far or (one.after > error and one.gain < NOTHING * gain)


def far_off_sentence(found: Sequence[PictureGain]) -> str:
    """The names of those pictures and what may be wrong with them; empty for none."""
    if not found:
        return ""
    names = [f"“{name}”" for name in dict.fromkeys(_shown_name(one, found) for one in found)]
    if len(names) > MOST_NAMED:
        names[MOST_NAMED:] = [counted(len(names) - MOST_NAMED, "other picture")]
    named = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    return (
        f"Much less was learned of {named} than of the others. Is something else in the picture, or the "
        "caption wrong?"
    )


def _shown_name(one: PictureGain, found: Sequence[PictureGain]) -> str:
    """The file's name; with its folder where another one has the same."""
    names = [Path(other.picture).name for other in found if other.picture != one.picture]
    name = Path(one.picture).name
    return one.picture if name in names else name


def read_gains(folder: Path | str) -> tuple[PictureGain, ...]:
    """The measured pictures of a result folder, whose file may be a stranger's: what is none is left out."""
    given = read_notes(Path(folder)).get(KEY)
    rows = given[:MOST_PICTURES] if isinstance(given, list) else []
    return tuple(gain for row in rows if (gain := _gain_of(row)))


def write_gains(folder: Path, gains: Sequence[PictureGain]) -> None:
    """Add the measured pictures to the folder's `training.json`. Raises OSError."""
    notes = {**read_notes(folder), KEY: [asdict(one) for one in gains[:MOST_PICTURES]]}
    write_atomically(folder / NOTES, json_text(notes))


def _gain_of(row: Any) -> PictureGain | None:
    if not isinstance(row, Mapping):
        return None
    name = plain_text(row.get("picture"), LONGEST_NAME)
    before, after = _error(row.get("before")), _error(row.get("after"))
    if not name or before is None or after is None:
        return None
    return PictureGain(picture=name, before=before, after=after)


def _error(given: Any) -> float | None:
    is_number = isinstance(given, int | float) and not isinstance(given, bool)
    return float(given) if is_number and 0 <= given < LARGEST_ERROR else None
