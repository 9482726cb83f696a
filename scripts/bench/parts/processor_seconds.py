"""Seconds of the processor that a call takes."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any

AGAIN, ENOUGH = 7, 0.5
"""Times that a call is made, and seconds after which no further one is."""


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """The answer, and the seconds of the processor for it. Garbage is collected before: a collection looks at
    all that was made earlier, and would be counted to whatever it falls into."""
    gc.collect()
    gc.disable()
    try:
        begun = time.process_time()
        return call(), time.process_time() - begun
    finally:
        gc.enable()


def least(call: Callable[[], Any]) -> float:
    """The seconds of a call that may be made again and again, without what other programs add."""
    found = [timed(call)[1]]
    while len(found) < AGAIN and sum(found) < ENOUGH:
        found.append(timed(call)[1])
    return min(found)
