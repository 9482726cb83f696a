"""Captions that an engine wrote, told from those by hand: the log of edits says who wrote which."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TypeVar

from lora_studio.data.edits.edit_log import EditEntry
from lora_studio.data.edits.picture_edits import SetCaption
from lora_studio.errors import DatasetError

State = TypeVar("State")
BY_ENGINE = "captioned by "
"""The beginning of the reason in an engine's entries."""


def by_engine(entries: Iterable[EditEntry]) -> set[str]:
    """The pictures, as edits name them, whose last caption is an engine's, not changed by anybody since."""
    return {picture for picture, is_engine in _by_engine(entries).items() if is_engine}


def by_person(entries: Iterable[EditEntry]) -> set[str]:
    """The pictures whose last caption somebody edited, also who took it away."""
    return {picture for picture, is_engine in _by_engine(entries).items() if not is_engine}


def write_captions(
    captions: Mapping[str, str],
    look: Callable[[], tuple[State, Collection[str]]],
    write: Callable[[Sequence[SetCaption], State], object],
) -> set[str]:
    """Write captions of an engine, by picture, where it still may; returns those pictures. `look` gives the
    state of the logs and the pictures that have no caption by hand then, `write` raises DatasetError where an
    edit doesn't fit or its picture is another one since that state: then it is looked again."""
    seen = look()
    while True:
        state, free = seen
        edits = [SetCaption(picture, text) for picture, text in captions.items() if picture in free]
        try:
            if edits:
                write(edits, state)
        except DatasetError:
            seen = look()
            if seen == (state, free):
                raise
        else:
            return {edit.picture for edit in edits}


def _by_engine(entries: Iterable[EditEntry]) -> dict[str, bool]:
    """Whether an engine wrote the last caption, for each picture with an edited one."""
    written: dict[str, bool] = {}
    for entry in entries:
        is_engine = entry.why.startswith(BY_ENGINE)
        written |= {edit.picture: is_engine for edit in entry.edits if isinstance(edit, SetCaption)}
    return written
