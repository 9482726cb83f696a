"""One at a time: what takes minutes of the machine is done once at a time, whichever way it was asked for."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from lora_studio.errors import DeviceBusy

SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Kind:
    """`doing` finishes "Another ... ."; `waiting` is how many may wait for their turn."""

    doing: str
    waiting: int


KINDS: Mapping[str, Kind] = {
    "plan": Kind(doing="training is being measured", waiting=0),
    "upload": Kind(doing="set of pictures is being read", waiting=3),
    "import": Kind(doing="file is being taken into the library", waiting=3),
}
"""Who waits holds a thread, and those are few: the page needs them."""


@dataclass
class _Place:
    turn: threading.Lock = field(default_factory=threading.Lock)
    asking: int = 0


class ActionLocks:
    def __init__(self) -> None:
        self._counting = threading.Lock()
        self._places = {name: _Place() for name in KINDS}

    @contextmanager
    def take(self, name: str) -> Iterator[None]:
        """One of KINDS, for the time of the block. Raises DeviceBusy when too many wait already, or none may
        and one is at it."""
        kind, place = KINDS[name], self._places[name]
        busy = DeviceBusy(f"Another {kind.doing}.", "Try again when it is done.")
        with self._counting:
            if place.asking > kind.waiting:
                raise busy
            place.asking += 1
        try:
            if not place.turn.acquire(timeout=SECONDS):
                raise busy
            try:
                yield
            finally:
                place.turn.release()
        finally:
            with self._counting:
                place.asking -= 1
