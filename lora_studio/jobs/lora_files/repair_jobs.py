"""Repairs and merges of LoRA files that go on by themselves: a page that is reloaded finds its own again."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from lora_studio.access.visitor import on_behalf, visitor
from lora_studio.errors import StoreError, StudioError
from lora_studio.events import Emit, Event, Noted, PhaseAdvanced, ShouldStop
from lora_studio.jobs.failure import bug_of
from lora_studio.records import LoraRecord

MOST_KEPT = 40
"""Ended ones that are remembered."""
NewLora = tuple[LoraRecord, list[str]]
"""A new LoRA of the library, and sentences on what of the old ones was left out."""
Work = Callable[[Emit, ShouldStop], NewLora | None]
"""The work of a job; None when it was stopped."""


class RepairState(StrEnum):
    """running -> finished | stopped | failed."""

    RUNNING = "running"
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class RepairJob:
    """One repair or merge at one moment. `done` of `total` is its progress (0 of 0 while it waits for its
    turn), `note` what there is to say beside; `lora` and `notes` are there in the end, or `error`. `session`
    is the client's name for itself, `owner` the visitor who asked."""

    id: str
    title: str
    session: str = ""
    owner: str = ""
    state: RepairState = RepairState.RUNNING
    stop_asked: bool = False
    done: int = 0
    total: int = 0
    note: str = ""
    lora: LoraRecord | None = None
    notes: tuple[str, ...] = ()
    error: StudioError | None = None
    ended_at: float = 0.0

    @property
    def active(self) -> bool:
        return self.state is RepairState.RUNNING

    @property
    def percent(self) -> int:
        """Whole percent; 100 only once it has finished."""
        if self.state is RepairState.FINISHED:
            return 100
        return min(99, 100 * self.done // self.total) if self.total else 0


class RepairJobs:
    """The jobs of this process, each in a thread of its own. `revision` changes with anything about them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._jobs: dict[str, RepairJob] = {}
        self._stops: dict[str, threading.Event] = {}
        self.revision = 0

    def start(self, title: str, work: Work, *, session: str = "") -> RepairJob:
        """Begin a job on behalf of the present visitor, and return at once."""
        job = RepairJob(id=secrets.token_hex(6), title=title, session=session, owner=visitor().name)
        with self._changed:
            self._jobs[job.id], self._stops[job.id] = job, threading.Event()
            ended = [one.id for one in self._jobs.values() if not one.active]
            for old in ended[: max(0, len(ended) - MOST_KEPT)]:
                del self._jobs[old]
            self._tell()
        run = on_behalf(self._run)
        threading.Thread(target=run, args=(job.id, work), name="lora-repair", daemon=True).start()
        return job

    def wait(self, job_id: str, timeout: float | None = None) -> RepairJob:
        """A job once it has ended, or as it is after `timeout` seconds. Raises StoreError."""
        with self._changed:
            self._changed.wait_for(lambda: not self._own(job_id).active, timeout)
            return self._own(job_id)

    def jobs(self) -> list[RepairJob]:
        """The visitor's jobs, newest first."""
        with self._changed:
            return [job for job in reversed(self._jobs.values()) if _owns(job)]

    def stop(self, job_id: str) -> None:
        """Ask a job to stop, which takes as long as one layer does. Raises StoreError."""
        with self._changed:
            if self._own(job_id).active:
                self._stops[job_id].set()
                self._change(job_id, stop_asked=True)

    def stop_all_of(self, session: str) -> bool:
        """Stop the visitor's running jobs of one session; False when there is none."""
        with self._changed:
            active = [job for job in self._jobs.values() if _owns(job) and job.active]
            ids = [job.id for job in active if job.session == session]
        for job_id in ids:
            self.stop(job_id)
        return bool(ids)

    def close(self) -> None:
        """Ask all to stop."""
        with self._changed:
            for stop in self._stops.values():
                stop.set()

    def _run(self, job_id: str, work: Work) -> None:
        try:
            made = work(lambda event: self._hear(job_id, event), self._stops[job_id].is_set)
            ended: dict[str, Any] = {"state": RepairState.STOPPED}
            if made is not None:
                ended = {"state": RepairState.FINISHED, "lora": made[0], "notes": tuple(made[1])}
        except StudioError as error:
            ended = {"state": RepairState.FAILED, "error": error}
        except Exception as error:  # a thread of its own: nobody else would hear of it
            ended = {"state": RepairState.FAILED, "error": bug_of(error, "a repair")}
        with self._changed:
            del self._stops[job_id]
            self._change(job_id, ended_at=time.time(), **ended)

    def _hear(self, job_id: str, event: Event) -> None:
        with self._changed:
            if isinstance(event, PhaseAdvanced):
                self._change(job_id, done=event.done, total=event.total)
            elif isinstance(event, Noted):
                self._change(job_id, note=event.message)

    def _own(self, job_id: str) -> RepairJob:
        job = self._jobs.get(job_id)
        if job is None or not _owns(job):
            raise StoreError(f"There is no repair {job_id[:64]!r}.", "What it made is in the library.")
        return job

    def _change(self, job_id: str, **facts: Any) -> None:
        self._jobs[job_id] = replace(self._jobs[job_id], **facts)
        self._tell()

    def _tell(self) -> None:
        self.revision += 1
        self._changed.notify_all()


def _owns(job: RepairJob) -> bool:
    present = visitor()
    return present.sees_all or (present.role is not None and present.name == job.owner != "")
