"""How long a test waits for what must happen: no machine that works is slower, however busy it is.

Nobody waits that long where all is well. A test asserts what happens, in which order and how often, or counts
work done; how long it took, on a machine of unknown speed beside unknown others, says nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE = 300.0
"""Seconds."""

T = TypeVar("T")


def until(condition: Callable[[], T], seconds: float = PATIENCE) -> T:
    """What `condition` gives, once it gives something."""
    begun, pause = time.monotonic(), 0.005
    while not (found := condition()):
        waited = time.monotonic() - begun
        assert waited < seconds, "it did not happen in time"
        pause = max(pause, min(waited / 10, 0.1))  # a condition that asks an app takes that one's time
        time.sleep(pause)
    return found
