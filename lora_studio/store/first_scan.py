"""The first scan of a library: before the page opens where little is new, else while it is open."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from lora_studio.errors import StudioError
from lora_studio.events import ShouldStop

logger = logging.getLogger(__name__)

MOST_AT_ONCE = 200
"""New files that are read before the page opens."""


class Scanned(Protocol):
    """The library, as far as the first scan needs it."""

    def unread(self) -> int: ...
    def scan(self, should_stop: ShouldStop = ..., count: Callable[[int], None] = ...) -> None: ...
    def forget_inputs(self) -> None: ...


@dataclass(kw_only=True)
class FirstScan:
    """A scan in a thread. New entries appear one after another; `close` ends a scan that still runs, and the
    next one goes on from there."""

    library: Scanned
    _closing: threading.Event = field(default_factory=threading.Event)
    _reader: threading.Thread | None = None
    _done: int = 0
    _total: int = 0

    @property
    def progress(self) -> tuple[int, int] | None:
        """The number of files read and of all, while a scan runs in its thread; else None."""
        if self._reader is None or not self._reader.is_alive():
            return None
        return min(self._done, self._total), self._total

    def start(self) -> None:
        """Scan, or begin to. Raises StudioError for a failure before the page opens."""
        self._total = self.library.unread()
        if self._total <= MOST_AT_ONCE:
            self._read()
            return
        logger.warning(
            "%s LoRAs and pictures are new here: they are read while the page is open.", self._total
        )
        self._reader = threading.Thread(target=self._read_quietly, name="library", daemon=True)
        self._reader.start()

    def close(self) -> None:
        self._closing.set()
        if self._reader is not None:
            self._reader.join()

    def _read(self) -> None:
        self.library.scan(self._closing.is_set, self._count)
        self.library.forget_inputs()

    def _count(self, read: int) -> None:
        self._done += read

    def _read_quietly(self) -> None:
        try:
            self._read()
        except StudioError as error:
            logger.warning("the library can't be read: %s", error)
