"""Events of a running job that the database can't take for now: one JSON a line, beside the job's log.

The file exists only as long as the database is locked or its disk full. Readers lay it over the job's row;
when the process dies before the database is back, the next start stores the missing events.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterable
from dataclasses import asdict, fields, replace
from pathlib import Path

from lora_studio.events import Event, event_from_json, event_to_json
from lora_studio.records import JobRecord
from lora_studio.store.job_projection import changes
from lora_studio.store.job_store import JobStore

logger = logging.getLogger(__name__)

NAME = "unstored.jsonl"
NOT_IN_RECORD = {"train_started_at": None, "train_seconds": 0.0, "train_steps": 0, "step_seconds": None}
SHOWN = {field.name for field in fields(JobRecord)}


class EventSpool:
    """The file of one job's unstored events. Raises OSError."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME

    def add(self, events: Iterable[tuple[Event, float]]) -> None:
        """Append events with their unix times, in order."""
        lines = (json.dumps({"at": at, **event_to_json(event)}) + "\n" for event, at in events)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write("".join(lines))

    def read(self) -> list[tuple[Event, float]]:
        """The events with their unix times; empty without a file, and without a line cut short."""
        try:
            text = self.path.read_text("utf-8", "replace")
        except FileNotFoundError:
            return []
        found: list[tuple[Event, float]] = []
        for line in text.splitlines():
            try:
                data = json.loads(line)
                found.append((event_from_json(data), float(data["at"])))
            except (ValueError, TypeError, KeyError, RecursionError):
                logger.debug("an unstored event of %s can't be read", self.path.parent.name)
        return found

    def clear(self) -> None:
        self.path.unlink(missing_ok=True)

    def size(self) -> int:
        """Bytes of the file; 0 without one."""
        with contextlib.suppress(OSError):
            return self.path.stat().st_size
        return 0


def laid_over(job: JobRecord, folder: Path) -> JobRecord:
    """The job with its unstored events applied."""
    unstored = EventSpool(folder)
    if not job.status.active or not unstored.size():
        return job
    row = {**asdict(job), **NOT_IN_RECORD}
    events = unstored.read()
    for event, at in events:
        row |= changes(row, event, at)
    values = {name: value for name, value in row.items() if name in SHOWN}
    return replace(job, **{**values, "revision": job.revision + len(events)})


def replay(store: JobStore, job_id: str) -> int:
    """Store the events that a dead process could not; returns their number. Raises StoreError, OSError."""
    unstored = EventSpool(store.folder(job_id))
    events = unstored.read()
    stored = store.append_missing(job_id, events) if events else 0
    unstored.clear()
    return stored
