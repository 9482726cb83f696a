"""Captions that an engine wrote, told from those by hand: the log of edits says who wrote which."""

from __future__ import annotations

from collections.abc import Iterable

from lora_studio.data.edits.edit_log import EditEntry
from lora_studio.data.edits.picture_edits import SetCaption

BY_ENGINE = "captioned by "
"""The beginning of the reason in an engine's entries."""


def by_engine(entries: Iterable[EditEntry]) -> set[str]:
    """The pictures, as edits name them, whose last caption an engine wrote. One that somebody changed since,
    also by rule, is theirs."""
    written: dict[str, bool] = {}
    for entry in entries:
        is_engine = entry.why.startswith(BY_ENGINE)
        written |= {edit.picture: is_engine for edit in entry.edits if isinstance(edit, SetCaption)}
    return {picture for picture, is_engine in written.items() if is_engine}
