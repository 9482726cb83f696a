"""The words of the checks: a check with its threshold, and its findings with what to do about each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from lora_studio.data.checks.checked_set import CheckedPicture, CheckedSet
from lora_studio.data.edits.picture_edits import LONGEST_CAPTION, Edit, SetCaption

Severity = Literal["serious", "warning", "note"]
"""`serious`: the LoRA gets visibly worse; `warning`: it may; `note`: good to know, and no fault."""


@dataclass(frozen=True, kw_only=True)
class Fix:
    """Edits that mend a finding: `title` for the button, `edits` for the overlay."""

    title: str
    edits: tuple[Edit, ...]


@dataclass(frozen=True, kw_only=True)
class DatasetFinding:
    """A finding of the check `check` on `pictures`, their names in the set; the first is the one that the fix
    is about. With none it is about the whole set. `reason` is a sentence. Without a `fix` the check's advice
    says what a person can do."""

    check: str
    pictures: tuple[str, ...]
    reason: str
    severity: Severity
    fix: Fix | None = None


@dataclass(frozen=True, kw_only=True)
class DatasetCheck:
    """A check. `threshold` says in a sentence from where on something is a finding, and why from there;
    `advice` what to do about all findings together."""

    id: str
    title: str
    threshold: str
    advice: str
    find: Callable[[CheckedSet], Iterator[DatasetFinding]]


def fix_of(picture: CheckedPicture, title: str, *edits: Edit) -> Fix | None:
    """A fix by edits of one picture; None where they can't have its name, or its caption is too long."""
    captions = [edit.caption for edit in edits if isinstance(edit, SetCaption)]
    can_be_made = picture.can_be_edited and all(len(caption) <= LONGEST_CAPTION for caption in captions)
    return Fix(title=title, edits=edits) if can_be_made else None
