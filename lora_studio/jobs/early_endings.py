"""Last words of runs that nobody ended: a pause with its reason where that can be put right, else failure."""

from __future__ import annotations

import threading
from collections.abc import Callable

from lora_studio.errors import DeviceLost, DiskFull, NetworkLost
from lora_studio.events import Emit, Event, Failed, Paused, Stopped
from lora_studio.jobs.failure import failure_of

PASSING = (DeviceLost, DiskFull, NetworkLost)
"""Errors that are no fault of the training: it goes on once their cause is gone."""
RESUME = "Then resume it: it goes on from the last state, with the same result."


def last_word(error: BaseException, *, step: int, resumes: bool) -> Failed | Paused:
    """The end that an error brings. `step` is a Resume's; `resumes` is false where the engine can't."""
    if isinstance(error, PASSING) and resumes:
        return Paused(step=step, message=f"Paused: {error.message}", hint=f"{error.hint} {RESUME}".strip())
    return failure_of(error)


def leaves_a_lora(event: Event | None) -> bool:
    """Whether the library may have a new LoRA after this last word."""
    return not isinstance(event, Failed) and (not isinstance(event, Paused) or bool(event.path))


def paused_by_closing(emit: Emit, closing: threading.Event, is_stopped: Callable[[], bool]) -> Emit:
    """An `emit` for which a run that the end of the program stops is paused: nobody has chosen to end it. The
    LoRA that it leaves is kept. `is_stopped` tells whether somebody did choose so."""

    def hear(event: Event) -> None:
        if isinstance(event, Stopped) and closing.is_set() and not is_stopped():
            message = f"Paused at step {event.step}: the studio was closed or the computer shut down."
            event = Paused(step=event.step, path=event.path, message=message, hint=RESUME[5:].capitalize())
        emit(event)

    return hear
