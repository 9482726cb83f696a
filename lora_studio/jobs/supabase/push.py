"""One round of sending: waiting things in the outbox go to the mirror, parents before their children."""

from __future__ import annotations

import logging
import platform
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_studio.errors import MirrorError, StoreError
from lora_studio.jobs.supabase.rows import Row, event_row, image_row, job_row, lora_row, mirror_id
from lora_studio.records import JobRecord, JobStatus
from lora_studio.store.job_store import JobStore
from lora_studio.store.library import Library
from lora_studio.store.outbox import Outbox, Waiting
from lora_studio.store.supabase_client import Supabase
from lora_studio.store.supabase_errors import ParentMissing, Refused

logger = logging.getLogger(__name__)

BATCH = 50
BATCHES_OF_A_JOB = 20
"""Batches of one job's events in a round, so that the statuses of the others do not grow old."""
TABLES = {"lora": "loras", "job": "training_jobs", "image": "generated_images"}


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Seconds: between two looks at the outbox, the first and the longest wait after a failure, between two
    looks at the remote commands, and between two tries while the mirror is paused."""

    look: float = 1.0
    first: float = 1.0
    longest: float = 60.0
    wishes: float = 5.0
    paused: float = 60.0

    def after(self, failures: int, asked: float = 0.0) -> float:
        """Seconds to wait after so many failures. Full jitter (Brooker, "Exponential Backoff And Jitter",
        2015), but at least the server's wish, `asked`."""
        most = min(self.longest, self.first * 2 ** min(failures, 30))
        return max(random.uniform(0, most), min(asked, 10 * self.longest))


class Sender:
    """The sender of rows. Raises Unreachable and NotAllowed, which concern all rows, and StoreError. A fault
    of one row is settled here: the row is buried or put off."""

    def __init__(
        self,
        outbox: Outbox,
        jobs: JobStore,
        library: Library,
        remote: Supabase,
        *,
        machine: str,
        pace: Pace,
    ) -> None:
        self._outbox, self._jobs, self._library, self._remote = outbox, jobs, library, remote
        self._machine, self._pace = machine, pace
        self._host = platform.node()

    def round(self) -> None:
        """Send each thing that waits once."""
        self._send_rows("lora", self._lora_row)
        self._send_rows("job", lambda job_id: job_row(self._jobs.get(job_id), self._machine, self._host))
        for item in self._outbox.waiting("events"):
            self._send_events(item)
        self._send_rows("image", self._image_row)

    def _send_rows(self, kind: str, build: Callable[[str], Row | None]) -> None:
        """Send the waiting rows of a kind; `build` gives None for things that are gone here."""
        while items := self._outbox.waiting(kind, BATCH):
            rows = [(item, row) for item in items if (row := build(item.key)) is not None]
            if rows:
                self._deliver(kind, rows)
            for item in items:
                if all(item is not kept for kept, _ in rows):
                    self._forget(item)
            if len(items) < BATCH:
                return

    def _deliver(self, kind: str, rows: Sequence[tuple[Waiting, Row]]) -> None:
        """Send rows, in halves after a refusal: the refused one of n is found in about log2 n requests."""
        try:
            self._remote.upsert(TABLES[kind], [row for _, row in rows])
        except (Refused, ParentMissing) as error:
            if len(rows) > 1:
                for half in _halves(rows):
                    self._deliver(kind, half)
            elif isinstance(error, Refused):
                self._bury(rows[0][0], rows[0][0].version, error)
            else:
                self._wait_for_parent(rows[0][0], error)
        else:
            self._outbox.acknowledge((item.kind, item.key, item.version) for item, _ in rows)

    def _send_events(self, item: Waiting) -> None:
        after = item.sent
        for _ in range(BATCHES_OF_A_JOB):
            stored = self._outbox.events(item.key, after, BATCH)
            rows = [(event[0], event_row(item.key, *event, self._machine)) for event in stored]
            try:
                if rows:
                    self._deliver_events(item, rows)
            except ParentMissing as error:
                self._wait_for_parent(item, error)
                return
            if len(rows) < BATCH:  # some may have been taken back since they were counted
                self._outbox.acknowledge([("events", item.key, item.version)])
                return
            after = rows[-1][0]

    def _deliver_events(self, item: Waiting, rows: Sequence[tuple[int, Row]]) -> None:
        try:
            self._remote.upsert("job_events", [row for _, row in rows], on_conflict="job_id,seq", ignore=True)
        except Refused as error:
            if len(rows) > 1:
                for half in _halves(rows):
                    self._deliver_events(item, half)
            else:
                self._bury(item, rows[0][0], error)
        else:
            self._outbox.acknowledge([("events", item.key, rows[-1][0])])

    def _wait_for_parent(self, item: Waiting, error: ParentMissing) -> None:
        """Put off a row whose parent may be on its way, or was removed over there and has to go again."""
        self._outbox.postpone(item, error.message, self._pace.after(item.attempts))
        if item.kind == "events":
            self._outbox.touch("job", item.key)
        elif item.kind == "job":
            self._outbox.touch("lora", self._jobs.get(item.key).slug)
        else:
            for slug in self._library.image(item.key).lora_slugs[:1]:
                self._outbox.touch("lora", slug)

    def _bury(self, item: Waiting, version: int, error: MirrorError) -> None:
        logger.warning("%s %s is not in Supabase: %s", item.kind, item.key, error.message)
        self._outbox.bury(item.kind, item.key, version, error.message)

    def _forget(self, item: Waiting) -> None:
        """Archive or delete the mirror's row of a thing that is gone here."""
        this = mirror_id(self._machine, item.kind, item.key)
        if item.kind == "lora":
            self._remote.update("loras", {"status": "archived"}, id=this)
        elif item.kind == "image":
            self._remote.delete("generated_images", id=this)
        self._outbox.acknowledge([(item.kind, item.key, item.version)])

    def _lora_row(self, slug: str) -> Row | None:
        try:
            record = self._library.lora(slug)
        except StoreError:
            record = None
        job = self._jobs.newest_of(slug)
        if record is None and job is None:
            return None
        return lora_row(slug, self._machine, record=record, job=job, thrown_away=_is_gone(job))

    def _image_row(self, image_id: str) -> Row | None:
        try:
            image = self._library.image(image_id)
        except StoreError:
            return None
        slug = next(iter(image.lora_slugs), "")
        has_lora = bool(slug) and self._outbox.is_known("lora", slug)
        return image_row(image, self._machine, mirror_id(self._machine, "lora", slug) if has_lora else None)


def _is_gone(job: JobRecord | None) -> bool:
    """Whether a training's result was there and is not any more."""
    return bool(
        job and job.status is JobStatus.FINISHED and job.result_path and not Path(job.result_path).is_dir()
    )


def _halves(rows: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any]]:
    middle = len(rows) // 2
    return rows[:middle], rows[middle:]
