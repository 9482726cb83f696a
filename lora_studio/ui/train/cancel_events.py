"""Cancel events of measurements and downloads: one for each browser tab that waits for one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from lora_studio.access.visitor import visitor
from lora_studio.events import ShouldStop


class Stops:
    """Cancel events by visitor and Gradio's session hash. The hash alone is a client's own word, and those
    that send none would share one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: dict[tuple[str, str], threading.Event] = {}

    @contextmanager
    def watch(self, session: str) -> Iterator[ShouldStop]:
        """Yield a function that returns True once this visitor has called `ask` for this session."""
        asked, key = threading.Event(), (visitor().name, session)
        with self._lock:
            self._asked[key] = asked
        try:
            yield asked.is_set
        finally:
            with self._lock:
                if self._asked.get(key) is asked:
                    del self._asked[key]

    def ask(self, session: str) -> bool:
        """Stop what this session of the visitor waits for; False when there is nothing."""
        with self._lock:
            asked = self._asked.get((visitor().name, session))
        if asked is not None:
            asked.set()
        return asked is not None
