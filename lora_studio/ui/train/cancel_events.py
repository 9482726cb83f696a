"""Which generation a Stop button stops: one event for each browser tab that is generating."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from lora_studio.events import ShouldStop


class Stops:
    """Keyed by Gradio's session hash. That is a client's own word, good for no more than stopping."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: dict[str, threading.Event] = {}

    @contextmanager
    def watch(self, session: str) -> Iterator[ShouldStop]:
        """Inside the block, the yielded function says True once `ask` was called for this session."""
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
        """Stop what this session generates; False when it generates nothing."""
        with self._lock:
            asked = self._asked.get(session)
        if asked is not None:
            asked.set()
        return asked is not None
