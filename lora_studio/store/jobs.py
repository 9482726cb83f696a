"""Jobs and their events. Each event and what it changes in its job's row are written in one transaction."""

from __future__ import annotations

import json
import logging
import math
import sqlite3
import time
import uuid
from collections.abc import Collection
from pathlib import Path
from typing import Any

from lora_studio.config import TrainConfig
from lora_studio.errors import ConfigError, StoreError
from lora_studio.events import Event, Noted, Queued, StepDone, Stopped, event_from_json, event_to_json
from lora_studio.records import JobRecord, JobStatus, StoredEvent
from lora_studio.store.database import Database
from lora_studio.store.owner import is_alive
from lora_studio.store.progress import changes

logger = logging.getLogger(__name__)

FIELDS = (
    "id, name, status, config, created_at, started_at, finished_at, heartbeat_at, progress, step, "
    "total_steps, phase, loss, seconds_left, message, hint, result_path, revision, owner"
)
ACTIVE = "('queued', 'running', 'stopping', 'paused')"
WORKING = "('running', 'stopping')"


class JobStore:
    """The trainings of this home folder, of all processes that share it. Raises StoreError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def folder(self, job_id: str) -> Path:
        """Where the job's log and event file lie, beside the database."""
        return self._database.path.parent / "jobs" / job_id

    def create(self, config: TrainConfig, owner: str = "") -> JobRecord:
        """A queued job. Raises ConfigError when an active job writes to the same folder."""
        job_id, now = uuid.uuid4().hex[:12], time.time()
        with self._database.write() as connection:
            active = connection.execute(f"SELECT config FROM jobs WHERE status IN {ACTIVE}").fetchall()
            taken = {json.loads(row["config"])["output"]["output_dir"] for row in active}
            if config.output.output_dir in taken:
                raise ConfigError(
                    f"A training called {config.output.output_name!r} is already waiting or running.",
                    "Choose another name, or wait until it is done.",
                    field="output_name",
                )
            connection.execute(
                "INSERT INTO jobs(id, name, status, config, created_at, heartbeat_at, total_steps, owner)"
                " VALUES (?, ?, 'queued', ?, ?, ?, ?, ?)",
                (
                    *(job_id, config.output.title or config.output.output_name, json.dumps(config.to_json())),
                    *(now, now, config.optimizer.max_train_steps, owner),
                ),
            )
            _append(connection, job_id, Queued(ahead=len(active)), now)
            return _record(_row(connection, job_id))

    def get(self, job_id: str) -> JobRecord:
        rows = self._database.read(f"SELECT {FIELDS} FROM jobs WHERE id = ?", (job_id,))
        if not rows:
            raise _no_such_job(job_id)
        return _record(rows[0])

    def jobs(self, limit: int = 50) -> list[JobRecord]:
        """Newest first."""
        sql = f"SELECT {FIELDS} FROM jobs ORDER BY number DESC LIMIT ?"
        return [_record(row) for row in self._database.read(sql, (limit,))]

    def active(self) -> list[JobRecord]:
        """Jobs that wait or run, oldest first."""
        sql = f"SELECT {FIELDS} FROM jobs WHERE status IN {ACTIVE} ORDER BY number"
        return [_record(row) for row in self._database.read(sql)]

    def revision(self) -> int:
        """A number that is another one after any change of any job."""
        return int(self._database.read("SELECT total(revision) AS sum FROM jobs")[0]["sum"])

    def append(self, job_id: str, event: Event, at: float | None = None) -> StoredEvent:
        """Store an event and what it changes. `at` is its unix time, now if left out."""
        with self._database.write() as connection:
            return _append(connection, job_id, event, time.time() if at is None else at)

    def events(
        self, job_id: str, after: int = 0, kinds: Collection[str] = (), limit: int | None = None
    ) -> list[StoredEvent]:
        """Events in order with a sequence number above `after`. `kinds` are class names, none means all;
        `limit` keeps the newest so many."""
        marks = ", ".join("?" * len(kinds))
        sql = "SELECT sequence, at, json FROM events WHERE job_id = ? AND sequence > ?"
        sql += f" AND kind IN ({marks})" if kinds else ""
        if kinds and StepDone.__name__ not in kinds:
            sql += " AND kind <> 'StepDone'"  # lets SQLite take the short index
        sql += " ORDER BY sequence DESC LIMIT ?"
        rows = self._database.read(sql, (job_id, after, *kinds, -1 if limit is None else limit))
        return [stored for row in reversed(rows) if (stored := _stored(row)) is not None]

    def losses(self, job_id: str, points: int = 200) -> list[tuple[int, float]]:
        """(step, mean loss since the point before), at most about `points` of them, in order."""
        span = (
            "SELECT min(step) AS first, max(step) AS last FROM events WHERE job_id = ? AND kind = 'StepDone'"
        )
        first, last = self._database.read(span, (job_id,))[0]
        if first is None:
            return []
        width = math.ceil((last - first + 1) / max(1, points))
        sql = (
            "SELECT max(step), avg(loss) FROM events INDEXED BY losses WHERE job_id = ? AND kind = 'StepDone'"
            " AND loss IS NOT NULL GROUP BY (step - ?) / ? ORDER BY 1"
        )
        return [(int(step), float(loss)) for step, loss in self._database.read(sql, (job_id, first, width))]

    def set_status(
        self,
        job_id: str,
        status: JobStatus,
        message: str = "",
        hint: str = "",
        *,
        only_from: Collection[JobStatus] = (),
    ) -> bool:
        """Change a status by hand. With `only_from`, a job in any other status is left alone: False."""
        with self._database.write() as connection:
            row = _row(connection, job_id)
            if only_from and row["status"] not in only_from:
                return False
            ended = not JobStatus(status).active
            values: dict[str, Any] = {"status": status, "message": message, "hint": hint}
            _update(
                connection,
                job_id,
                values | ({"finished_at": time.time(), "seconds_left": None} if ended else {}),
            )
            return True

    def stop(self, job_id: str) -> JobRecord:
        """A waiting job is stopped at once, a running one becomes `stopping`; an ended one stays as it is."""
        with self._database.write() as connection:
            status = _row(connection, job_id)["status"]
            if status in (JobStatus.QUEUED, JobStatus.PAUSED):
                _append(connection, job_id, Stopped(step=0), time.time())
            elif status == JobStatus.RUNNING:
                _update(connection, job_id, {"status": JobStatus.STOPPING})
            return _record(_row(connection, job_id))

    def next_queued(self, owner: str = "") -> JobRecord | None:
        """The job that has waited longest among those of `owner` (all, if empty)."""
        sql = (
            f"SELECT {FIELDS} FROM jobs WHERE status = 'queued' AND ? IN ('', owner) ORDER BY number LIMIT 1"
        )
        rows = self._database.read(sql, (owner,))
        return _record(rows[0]) if rows else None

    def claim(self, job_id: str, owner: str) -> bool:
        """Take a waiting job to run it. False when it no longer waits."""
        now = time.time()
        with self._database.write() as connection:
            if _row(connection, job_id)["status"] != JobStatus.QUEUED:
                return False
            values = {"status": JobStatus.RUNNING, "owner": owner, "started_at": now, "heartbeat_at": now}
            _update(connection, job_id, values)
            return True

    def heartbeat(self, owner: str) -> None:
        """Say that the process `owner` is alive, for all its jobs."""
        with self._database.write() as connection:
            connection.execute(
                f"UPDATE jobs SET heartbeat_at = ? WHERE owner = ? AND status IN {ACTIVE}",
                (time.time(), owner),
            )

    def interrupt_orphans(self, owner: str) -> list[JobRecord]:
        """Jobs that ran in a process that is gone become `interrupted`, those that waited there pass to
        `owner` and keep their place. Returns the interrupted ones."""
        dead = _dead_owners(self.active(), owner)
        if not dead:
            return []
        marks = ", ".join("?" * len(dead))
        with self._database.write() as connection:
            connection.execute(
                "UPDATE jobs SET owner = ?, heartbeat_at = ?, revision = revision + 1"
                f" WHERE status = 'queued' AND owner IN ({marks})",
                (owner, time.time(), *dead),
            )
            sql = f"SELECT id FROM jobs WHERE status IN {WORKING} AND owner IN ({marks})"
            ids = [row["id"] for row in connection.execute(sql, tuple(dead))]
            return [_interrupt(connection, job_id) for job_id in ids]


def _append(connection: sqlite3.Connection, job_id: str, event: Event, at: float) -> StoredEvent:
    row = _row(connection, job_id)
    sequence = row["events"] + 1
    data = event_to_json(event)
    step, loss = (event.step, event.loss) if isinstance(event, StepDone) else (None, None)
    connection.execute(
        "INSERT INTO events(job_id, sequence, at, kind, json, step, loss) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (job_id, sequence, at, data["kind"], json.dumps(data), step, loss),
    )
    _update(connection, job_id, {**changes(dict(row), event, at), "events": sequence})
    return StoredEvent(sequence=sequence, at=at, event=event)


def _update(connection: sqlite3.Connection, job_id: str, values: dict[str, Any]) -> None:
    assignments = ", ".join(f"{column} = :{column}" for column in values)
    connection.execute(
        f"UPDATE jobs SET {assignments}, revision = revision + 1 WHERE id = :job_id",
        {**values, "job_id": job_id},
    )


def _interrupt(connection: sqlite3.Connection, job_id: str) -> JobRecord:
    row = _row(connection, job_id)
    sql = (
        "SELECT json FROM events WHERE job_id = ? AND kind = 'CheckpointSaved' ORDER BY sequence DESC LIMIT 1"
    )
    saved = connection.execute(sql, (job_id,)).fetchone()
    checkpoint = json.loads(saved["json"]) if saved else None
    message = f"The program ended while this training ran, at step {row['step']} of {row['total_steps']}."
    hint = "Start it again with the same settings."
    if checkpoint:
        hint += (
            f" What it had learned by step {checkpoint['step']} is kept in {Path(checkpoint['path']).name}."
        )
    now = time.time()
    _append(connection, job_id, Noted(message=message, level="warning"), now)
    values = {"status": JobStatus.INTERRUPTED, "finished_at": now, "seconds_left": None}
    _update(connection, job_id, {**values, "message": message, "hint": hint})
    return _record(_row(connection, job_id))


def _dead_owners(jobs: list[JobRecord], owner: str) -> set[str]:
    """Owners other than `owner` whose process is gone, going by their latest sign of life."""
    latest: dict[str, float] = {}
    for job in jobs:
        if job.owner != owner:
            latest[job.owner] = max(latest.get(job.owner, 0.0), job.heartbeat_at or job.created_at)
    now = time.time()
    return {name for name, beat in latest.items() if not is_alive(name, silence=now - beat)}


def _row(connection: sqlite3.Connection, job_id: str) -> sqlite3.Row:
    row: sqlite3.Row | None = connection.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
    if row is None:
        raise _no_such_job(job_id)
    return row


def _record(row: sqlite3.Row) -> JobRecord:
    values = {column: row[column] for column in FIELDS.split(", ")}
    return JobRecord(
        **{**values, "status": JobStatus(values["status"]), "config": json.loads(values["config"])}
    )


def _stored(row: sqlite3.Row) -> StoredEvent | None:
    try:
        event = event_from_json(json.loads(row["json"]))
    except (ValueError, TypeError):
        logger.debug("event %s was written by another version", row["sequence"])
        return None
    return StoredEvent(sequence=row["sequence"], at=row["at"], event=event)


def _no_such_job(job_id: str) -> StoreError:
    return StoreError(
        f"There is no training {str(job_id)[:64]!r}.", "It may have been removed; reload the list."
    )
