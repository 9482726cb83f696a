"""Ctrl+C as a request to stop: the first one is only noted, the second one interrupts at once."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from lora_studio.events import ShouldStop


@contextmanager
def stop_request(promise: str) -> Iterator[ShouldStop]:
    """Make Ctrl+C a request inside the block: the first one, or SIGTERM, prints `promise`, and the yielded
    function returns True from then on."""
    asked = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        print(f"\n{promise} Press Ctrl+C again to break off at once.", file=sys.stderr)

    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set  # only the main thread receives signals
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
