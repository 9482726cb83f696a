"""Locks for actions of minutes: one of a kind at a time, on the page, over the API, on the command line."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from lora_studio.errors import DeviceBusy
from lora_studio.events import ShouldStop, never_stop

SECONDS, LOOK_SECONDS = 60.0, 0.25


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of action. `doing` finishes "Another ... ."; `waiting` is how many may wait for their turn."""

    doing: str
    waiting: int


KINDS: Mapping[str, Kind] = {
    "plan": Kind(doing="training is being measured", waiting=0),
    "upload": Kind(doing="set of pictures is being read", waiting=3),
    "export": Kind(doing="set of pictures is being packed", waiting=3),
    "link": Kind(doing="file is being fetched", waiting=0),
    "import": Kind(doing="file is being taken into the library", waiting=3),
    "publish": Kind(doing="LoRA is on its way to the Hub", waiting=0),
    "inspect": Kind(doing="LoRA file is being looked at", waiting=3),
    "check": Kind(doing="set of pictures is being checked", waiting=0),
    "repair": Kind(doing="LoRA file is being repaired or merged", waiting=3),
}
"""Kinds of actions by name. An action that waits holds a thread, and those are few: the page needs them."""


@dataclass
class _Place:
    turn: threading.Lock = field(default_factory=threading.Lock)
    asking: int = 0


class ActionLocks:
    """One lock for each of KINDS."""

    def __init__(self) -> None:
        self._counting = threading.Lock()
        self._places = {name: _Place() for name in KINDS}

    @contextmanager
    def take(
        self, name: str, *, gives_up: bool = True, should_stop: ShouldStop = never_stop
    ) -> Iterator[None]:
        """Hold the lock of one of KINDS for the time of the block. Raises DeviceBusy when too many wait
        already, when the lock is taken and none may wait, and when the waiting is stopped. Who does not give
        up waits for as long as it takes: for those who hold the lock of another kind, and would lose what
        they did under it."""
        kind, place = KINDS[name], self._places[name]
        busy = DeviceBusy(f"Another {kind.doing}.", "Try again when it is done.")
        with self._counting:
            if gives_up and place.asking > kind.waiting:
                raise busy
            place.asking += 1
        try:
            if not _is_taken(place.turn, SECONDS if gives_up else math.inf, should_stop):
                raise busy
            try:
                yield
            finally:
                place.turn.release()
        finally:
            with self._counting:
                place.asking -= 1


def _is_taken(turn: threading.Lock, seconds: float, should_stop: ShouldStop) -> bool:
    """Wait for a lock and take it; False once the time is up, or the waiting is stopped."""
    give_up = time.monotonic() + seconds
    while not turn.acquire(timeout=min(LOOK_SECONDS, max(0.0, give_up - time.monotonic()))):
        if should_stop() or time.monotonic() >= give_up:
            return False
    return True
