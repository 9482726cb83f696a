"""Cancel events of measurements: one for each browser tab that is measuring."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from lora_studio.events import ShouldStop


class Stops:
    """Cancel events by Gradio's session hash. The hash is a client's own word, good for no more than
    stopping."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: dict[str, threading.Event] = {}

    @contextmanager
    def watch(self, session: str) -> Iterator[ShouldStop]:
        """Yield a function that returns True once `ask` was called for this session, inside the block."""
        asked = threading.Event()
        with self._lock:
            self._asked[session] = asked
        try:
            yield asked.is_set
        finally:
            with self._lock:
                if self._asked.get(session) is asked:
                    del self._asked[session]

    def ask(self, session: str) -> bool:
        """Stop this session's measurement; False when there is none."""
        with self._lock:
            asked = self._asked.get(session)
        if asked is not None:
            asked.set()
        return asked is not None
