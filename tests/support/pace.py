"""How fast this machine computes at the moment, for tests that bound the processor's time of one answer.

What they look for takes ten to ten thousand times as long as it should, so a bound in seconds of a known
machine, stretched by how much slower this one is, tells it from a slow or busy machine.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable

REFERENCE = 0.0055
"""Seconds of processor time that `_work` took on a quiet core of the machine the bounds come from."""
TEXT = json.dumps([{"name": f"a{n}", "value": [n, n / 7, "b" * (n % 30)]} for n in range(1500)])
WORD = re.compile(r"\w+")


def stretched(bound: float) -> float:
    """`bound` in seconds on the machine it comes from, in seconds on this one; never less."""
    return bound * max(1.0, 1.5 * min(seconds_of(_work) for _ in range(3)) / REFERENCE)


def seconds_of(run: Callable[[], object]) -> float:
    """Of this thread's processor time."""
    begun = time.thread_time()
    run()
    return time.thread_time() - begun


def _work() -> None:
    json.loads(TEXT)
    for _ in WORD.finditer(TEXT):
        pass
    sum(number * number for number in range(50_000))
