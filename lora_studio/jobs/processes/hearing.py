"""The near end's ear: what a run elsewhere has said, and how long a stop has waited for its answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from lora_studio.events import Emit, Event, Finished, Paused, ShouldStop, StepDone, Stopped


def _unchanged(event: Event) -> Event:
    return event


@dataclass(kw_only=True)
class Hearing:
    """The events so far, each passed on as `through` makes it, and how long a stop has waited for its answer.
    The last word is held back until the far end is done: then the device is free, and the result whole."""

    emit: Emit
    should_stop: ShouldStop
    through: Callable[[Event], Event] = _unchanged
    last_word: Event | None = None
    asked_at: float | None = None
    heard_at: float = field(default_factory=time.monotonic)
    slowest_step: float = 0.0

    @property
    def asked_to_stop(self) -> bool:
        return self.asked_at is not None

    def ask(self) -> None:
        self.asked_at = time.monotonic()

    def take(self, events: Iterable[Event]) -> None:
        for event in events:
            self.heard_at = time.monotonic()
            if isinstance(event, Finished | Stopped | Paused):
                self.last_word = event
                continue
            if isinstance(event, StepDone):
                self.slowest_step = max(self.slowest_step, event.seconds)
            self.emit(self.through(event))

    def is_unanswered(self, patience_seconds: float) -> bool:
        """Whether a stop was asked for and nothing was heard since, for longer than a few steps take."""
        if self.asked_at is None or self.last_word:
            return False
        silence = time.monotonic() - max(self.asked_at, self.heard_at)
        return silence > max(patience_seconds, 5 * self.slowest_step)
