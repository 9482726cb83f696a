"""Owners of what clients name by themselves: sessions of Gradio, their events, uploads on their way. Whoever
names one first has it; without that, somebody who learned a name could listen in, or stop it."""

from __future__ import annotations

import threading
from collections import OrderedDict

MOST_OF_ONE = 5000
"""Names that one person may have; the oldest are forgotten."""


class SessionOwners:
    """The owners of one page. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner: dict[str, str] = {}
        self._names: dict[str, OrderedDict[str, None]] = {}

    def take(self, key: str, person: str) -> bool:
        """Whether the key is this person's, who has it from now on if nobody had."""
        with self._lock:
            if self._owner.setdefault(key, person) != person:
                return False
            kept = self._names.setdefault(person, OrderedDict())
            kept[key] = None
            kept.move_to_end(key)
            if len(kept) > MOST_OF_ONE:
                del self._owner[kept.popitem(last=False)[0]]
            return True

    def has(self, key: str, person: str) -> bool:
        """Whether the key is this person's already."""
        with self._lock:
            return self._owner.get(key) == person
