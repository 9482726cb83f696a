"""Sources of `lora-studio status`: this machine's store, or the mirror in Supabase."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from lora_studio.errors import MirrorError, StoreError, StudioError
from lora_studio.event_text import event_text
from lora_studio.events import StepDone
from lora_studio.records import JobRecord, JobStatus
from lora_studio.settings import Settings
from lora_studio.store.process_owner import SILENCE_SECONDS, is_alive

MOST_JOBS = 50
WORKING = {JobStatus.RUNNING, JobStatus.STOPPING, JobStatus.PAUSING}
Line = tuple[float, str]
"""Unix time and text of an event."""


class OutOfReach(StudioError):
    """A source that can't be read."""


class StatusSource(Protocol):
    """A source of jobs. Raises OutOfReach."""

    name: str

    def jobs(self) -> list[JobRecord]:
        """The newest jobs, newest first."""
        ...

    def lines(self, job: JobRecord) -> list[Line]:
        """The job's events as lines, without its steps."""
        ...

    def is_stale(self, job: JobRecord) -> bool:
        """Whether the job's status is running, but nobody seems to run it."""
        ...

    def close(self) -> None: ...


class Here:
    """The store of this machine."""

    name = "local"

    def __init__(self) -> None:
        from lora_studio.studio import open_studio

        with _reaching():
            self._studio = open_studio(start_worker=False)

    def jobs(self) -> list[JobRecord]:
        with _reaching():
            return self._studio.jobs.jobs(MOST_JOBS)

    def lines(self, job: JobRecord) -> list[Line]:
        with _reaching():
            events = self._studio.jobs.events(job.id)
        lines = ((each.at, event_text(each.event)) for each in events if not isinstance(each.event, StepDone))
        return [line for line in lines if line[1]]

    def is_stale(self, job: JobRecord) -> bool:
        silence = _silence(job)
        gone = bool(job.owner) and not is_alive(job.owner, silence=silence)
        return job.status in WORKING and (gone or silence > SILENCE_SECONDS)

    def close(self) -> None:
        self._studio.close()


class There:
    """The mirror in Supabase."""

    name = "supabase"

    def __init__(self, settings: Settings) -> None:
        from lora_studio.store.supabase_client import Supabase

        if not (settings.supabase_url and settings.supabase_key):
            raise OutOfReach("Supabase is not set up.", "Set SUPABASE_URL and SUPABASE_KEY.")
        self._remote = Supabase(settings)
        self._ids: dict[str, str] = {}

    def jobs(self) -> list[JobRecord]:
        from lora_studio.jobs.supabase.rows import job_of_row

        with _reaching():
            rows = self._remote.select("training_jobs", order="created_at", limit=MOST_JOBS)
        jobs = [job_of_row(row) for row in rows]
        self._ids = {job.id: str(row["id"]) for job, row in zip(jobs, rows, strict=True)}
        return jobs

    def lines(self, job: JobRecord) -> list[Line]:
        from lora_studio.jobs.supabase.rows import seconds_of

        columns = {"job_id": self._ids[job.id], "kind__neq": "StepDone"}
        with _reaching():
            rows = self._remote.select("job_events", "at,kind,message,seq", order="seq", limit=20, **columns)
        lines = ((seconds_of(row["at"]) or 0.0, row["message"] or row["kind"]) for row in rows)
        return list(reversed(list(lines)))

    def is_stale(self, job: JobRecord) -> bool:
        return job.status in WORKING and _silence(job) > SILENCE_SECONDS

    def close(self) -> None:
        self._remote.close()


def open_source(wanted: str) -> StatusSource:
    """The source named `local`, `supabase`, or `auto`: the store of this machine where there is one that can
    be read, and else the mirror. Raises OutOfReach."""
    settings = Settings.from_environment()
    is_set_up = bool(settings.supabase_url and settings.supabase_key)
    if wanted == "supabase" or (wanted == "auto" and is_set_up and not settings.database.exists()):
        return There(settings)
    try:
        return Here()
    except OutOfReach:
        if wanted == "local" or not is_set_up:
            raise
        return There(settings)


def find_job(records: Sequence[JobRecord], name: str) -> JobRecord:
    """The job of an id, the beginning of an id, or its LoRA's name (the newest). Raises StoreError."""
    for record in records:
        if name in {record.id, record.name, record.slug}:
            return record
    starts = [record for record in records if len(name) >= 4 and record.id.startswith(name)]
    if len(starts) == 1:
        return starts[0]
    raise StoreError(f"There is no job called {name!r}.", "lora-studio status lists them.")


@contextmanager
def _reaching() -> Iterator[None]:
    try:
        yield
    except (StoreError, MirrorError) as error:
        raise OutOfReach(error.message, error.hint) from error


def _silence(job: JobRecord) -> float:
    return time.time() - (job.heartbeat_at or job.created_at)
