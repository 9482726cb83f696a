"""Rates of requests: a bucket of tokens for each person, or each address where nobody has logged in. It holds
`burst` tokens and gains `per_second`; each request takes one."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass

MOST_REMEMBERED = 5000
"""Buckets that are kept; the one that was used longest ago goes, which is full again soonest."""


@dataclass(frozen=True, kw_only=True)
class Rate:
    """The rate of one kind of request."""

    burst: int
    per_second: float


CALLS = Rate(burst=600, per_second=20)
"""Rate of calls, those of the page included: it asks once or twice a second, in each of its tabs."""
UPLOADS = Rate(burst=60, per_second=0.5)


class Rates:
    """The buckets of one kind of request. Belongs to one event loop."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._kept: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def take(self, who: str) -> float:
        """Take a token: 0 if there was one, else the seconds until there is."""
        now, rate = time.monotonic(), self._rate
        tokens, at = self._kept.pop(who, (float(rate.burst), now))
        tokens = min(rate.burst, tokens + (now - at) * rate.per_second)
        wait = 0.0 if tokens >= 1 else (1 - tokens) / rate.per_second
        self._kept[who] = (tokens if wait else tokens - 1, now)
        if len(self._kept) > MOST_REMEMBERED:
            self._kept.popitem(last=False)
        return wait
