"""The sink of a run's events: the database and the job's folder. A failure there never reaches the run.

Events that the database can't take meanwhile go into a file of their own, see `store/event_spool.py`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from lora_studio.events import Event, Failed, Finished, Paused, StateSaved, Stopped
from lora_studio.jobs.event_log import EventLog
from lora_studio.store.event_spool import EventSpool
from lora_studio.store.job_store import JobStore

logger = logging.getLogger(__name__)

PAUSE_SECONDS, LONGEST_PAUSE = 1.0, 30.0
"""Seconds between tries to store events, doubled each time: a try on a locked database takes seconds."""
KEPT_EVENTS = 100_000


class EventSink:
    """The `emit` of one run; `saved_step` is the step of its newest state. Events that the database can't
    take now are kept, in order, and tried again."""

    def __init__(
        self, store: JobStore, job_id: str, event_log: EventLog, on_change: Callable[[], None] = lambda: None
    ) -> None:
        self.last_word: Event | None = None
        self.saved_step = 0
        self._store, self._job_id, self._journal = store, job_id, event_log
        self._on_change = on_change
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Event, float]] = deque(maxlen=KEPT_EVENTS)
        self._unstored = EventSpool(event_log.folder)
        self._kept, self._is_in_file = 0, False
        self._try_again_at, self._pause = 0.0, PAUSE_SECONDS
        self._logged: set[str] = set()

    @property
    def folder(self) -> Path:
        """The job's folder."""
        return self._journal.folder

    def __call__(self, event: Event) -> None:
        at = time.time()
        with self._lock:
            if isinstance(event, Finished | Failed | Stopped | Paused):
                self.last_word = event
            elif isinstance(event, StateSaved):
                self.saved_step = event.step
            self._waiting.append((event, at))
            self._guarded("the job's folder", lambda: self._journal.add(event, at))
            if time.monotonic() >= self._try_again_at:
                if self._guarded("the database", self._store_waiting):
                    self._pause = PAUSE_SECONDS
                else:
                    self._try_again_at = time.monotonic() + self._pause
                    self._pause = min(LONGEST_PAUSE, 2 * self._pause)
            if self._waiting:
                self._guarded("the file of unstored events", self._keep_waiting)
        self._on_change()

    def tell(self, text: str) -> None:
        """Put a text, such as a traceback, into the job's log."""
        with self._lock:
            self._guarded("the job's folder", lambda: self._journal.tell(text, time.time()))

    def settle(self, timeout: float) -> bool:
        """Wait until all events are stored; False if that took longer than `timeout` seconds."""
        give_up = time.monotonic() + timeout
        while True:
            with self._lock:
                if self._guarded("the database", self._store_waiting):
                    return True
            if time.monotonic() >= give_up:
                return False
            time.sleep(0.1)

    def _store_waiting(self) -> None:
        while self._waiting:
            event, at = self._waiting[0]
            self._store.append(self._job_id, event, at)
            self._waiting.popleft()
            self._kept = max(0, self._kept - 1)
        if self._is_in_file:
            self._unstored.clear()
            self._is_in_file = False

    def _keep_waiting(self) -> None:
        """Append waiting events to the spool, but for the first `_kept`, which are in it already."""
        new = list(islice(self._waiting, self._kept, None))
        self._is_in_file = True
        self._unstored.add(new)
        self._kept += len(new)

    def _guarded(self, where: str, write: Callable[[], None]) -> bool:
        try:
            write()
        except Exception:  # the event fan-out: a sink cannot hurt a run
            if where not in self._logged:
                self._logged.add(where)
                logger.exception("events of job %s can't be written to %s for now", self._job_id, where)
            return False
        return True
