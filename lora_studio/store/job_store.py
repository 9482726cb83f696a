"""Jobs and their events. Each event and its changes in the job's row are written in one transaction, and with
them, by the schema's triggers, the rows that `store/outbox.py` hands to the mirror."""

from __future__ import annotations

import json
import logging
import math
import sqlite3
import time
import uuid
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from lora_studio.access.roles import Role
from lora_studio.access.visitor import Kind, visitor
from lora_studio.config import TrainConfig
from lora_studio.errors import ConfigError, StoreError
from lora_studio.events import (
    COMMANDS,
    CheckpointSaved,
    Command,
    Event,
    Noted,
    PreviewSaved,
    Queued,
    Started,
    StateSaved,
    StepDone,
    Stopped,
    Validated,
    event_from_json,
    event_to_json,
)
from lora_studio.records import JobRecord, JobStatus, StoredEvent
from lora_studio.store.database import Database
from lora_studio.store.job_projection import changes
from lora_studio.store.process_owner import has_restarted, is_alive

logger = logging.getLogger(__name__)

FIELDS = (
    "id, name, status, config, created_at, started_at, finished_at, heartbeat_at, progress, step, "
    "total_steps, phase, loss, seconds_left, message, hint, result_path, revision, owner, "
    "state_step, fork_of, run, earlier_seconds, removed"
)
ACTIVE = "('queued', 'running', 'stopping', 'pausing', 'paused')"
UNDECIDED = (JobStatus.QUEUED, JobStatus.PAUSED, JobStatus.INTERRUPTED)
WORKING = "('running', 'stopping', 'pausing')"
OF_A_STEP = (StepDone, PreviewSaved, CheckpointSaved, StateSaved, Validated)


class JobStore:
    """The trainings of this home folder, of all processes that share it. Raises StoreError, also for one that
    the visitor may not see, and NotAllowed for one that isn't theirs to change."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def folder(self, job_id: str) -> Path:
        """The folder of the job's log and event file, beside the database."""
        return self._database.path.parent / "jobs" / job_id

    def create(self, config: TrainConfig, owner: str = "", *, fork_of: str = "") -> JobRecord:
        """A queued job, which begins with the weights of the state in the folder `fork_of` if there is one.
        Raises ConfigError when an active or paused job writes to the same folder, QuotaReached."""
        visitor().needs(Role.TRAINER)
        job_id, now = uuid.uuid4().hex[:12], time.time()
        with self._database.write() as connection:
            visitor().may_train(config.optimizer.max_train_steps)
            ahead = _check_free(connection, job_id, config.output.output_dir, config.output.output_name)
            connection.execute(
                "INSERT INTO jobs(id, name, status, config, created_at, heartbeat_at, total_steps, owner,"
                " fork_of) VALUES (?, ?, 'queued', ?, ?, ?, ?, ?, ?)",
                (
                    *(job_id, config.output.title or config.output.output_name, json.dumps(config.to_json())),
                    *(now, now, config.optimizer.max_train_steps, owner, fork_of),
                ),
            )
            _append(connection, job_id, Queued(ahead=ahead), now)
            job = record_of(_row(connection, job_id))
            visitor().claims(Kind.JOB, job_id)
            visitor().claims(Kind.LORA, job.slug)
            return job

    def resume(self, job_id: str, owner: str = "") -> JobRecord:
        """Queue an ended job again, at the place of its age. Raises StoreError when it can't be resumed,
        ConfigError when another job writes to its folder meanwhile, QuotaReached."""
        self.own(job_id)
        with self._database.write() as connection:
            job = record_of(_row(connection, job_id))
            if not job.resumable:
                raise StoreError(
                    f"The training {job.name} can't be resumed: it is {job.status}"
                    f"{'' if job.status.active else ' and has left no state'}.",
                    "" if job.status.active else "Start it over.",
                )
            visitor().may_train(job.total_steps - job.step)
            output = job.config["output"]
            ahead = _check_free(connection, job_id, output["output_dir"], output["output_name"])
            now = time.time()
            values = {"status": JobStatus.QUEUED, "owner": owner, "heartbeat_at": now, "run": job.run + 1}
            ended = {"started_at": None, "finished_at": None, "message": "", "hint": ""}
            _update(connection, job_id, {**values, **ended, "earlier_seconds": job.seconds_at_work(now)})
            connection.execute("DELETE FROM commands WHERE job_id = ?", (job_id,))
            connection.execute("UPDATE owners SET content = '' WHERE kind = 'lora' AND key = ?", (job.slug,))
            _append(connection, job_id, Queued(ahead=ahead), time.time())
            return record_of(_row(connection, job_id))

    def command(self, job_id: str, command: Command) -> JobRecord:
        """Leave a command for the process that runs the job; a job that waits is paused at once. Raises
        StoreError when it does not run."""
        self.own(job_id)
        with self._database.write() as connection:
            job = record_of(_row(connection, job_id))
            waits = command == "pause" and job.status == JobStatus.QUEUED
            if waits:
                _update(connection, job_id, {"status": JobStatus.PAUSED, "finished_at": time.time()})
            elif job.status == JobStatus.RUNNING:
                connection.execute("INSERT INTO commands(job_id, command) VALUES (?, ?)", (job_id, command))
                if command == "pause":
                    _update(connection, job_id, {"status": JobStatus.PAUSING})
            elif command != "pause" or job.status not in (JobStatus.PAUSING, JobStatus.PAUSED):
                raise StoreError(
                    f"The training {job.name} is not running: it is {job.status}.",
                    "Only a running training can be told that.",
                )
            return record_of(_row(connection, job_id))

    def take_command(self, job_id: str) -> Command | None:
        """Remove and return the oldest command left for a job."""
        with self._database.write() as connection:
            sql = "SELECT number, command FROM commands WHERE job_id = ? ORDER BY number LIMIT 1"
            row = connection.execute(sql, (job_id,)).fetchone()
            if row is None:
                return None
            connection.execute("DELETE FROM commands WHERE number = ?", (row["number"],))
            return next((command for command in COMMANDS if command == row["command"]), None)

    def has_commands(self, job_id: str) -> bool:
        return bool(self._database.read("SELECT 1 FROM commands WHERE job_id = ? LIMIT 1", (job_id,)))

    def get(self, job_id: str) -> JobRecord:
        seen, values = visitor().seen_rows(Kind.JOB, "id")
        rows = self._database.read(f"SELECT {FIELDS} FROM jobs WHERE id = ? AND {seen}", (job_id, *values))
        if not rows:
            raise _no_such_job(job_id)
        return record_of(rows[0])

    def own(self, job_id: str) -> JobRecord:
        """A job that the visitor may change. Raises StoreError, NotAllowed."""
        job = self.get(job_id)
        visitor().must_own(Kind.JOB, job_id)
        return job

    def jobs(self, limit: int = 50) -> list[JobRecord]:
        """The newest jobs, newest first, without removed ones."""
        seen, values = visitor().seen_rows(Kind.JOB, "id")
        sql = f"SELECT {FIELDS} FROM jobs WHERE removed = '' AND {seen} ORDER BY number DESC LIMIT ?"
        return [record_of(row) for row in self._database.read(sql, (*values, limit))]

    def active(self, *, seen: bool = False) -> list[JobRecord]:
        """Jobs that wait or run, oldest first: all, or those that the visitor may see."""
        condition, values = visitor().seen_rows(Kind.JOB, "id") if seen else ("TRUE", ())
        sql = f"SELECT {FIELDS} FROM jobs WHERE status IN {ACTIVE} AND {condition} ORDER BY number"
        return [record_of(row) for row in self._database.read(sql, values)]

    def is_given(self, folder: str) -> bool:
        """Whether any training, ended ones included, has the pictures of this folder."""
        sql = "SELECT 1 FROM jobs WHERE json_extract(config, '$.dataset.train_data_dir') = ? LIMIT 1"
        return bool(self._database.read(sql, (folder,)))

    def newest_of(self, slug: str) -> JobRecord | None:
        """The latest training that writes the LoRA of this slug."""
        sql = (
            f"SELECT {FIELDS} FROM jobs WHERE json_extract(config, '$.output.output_name') = ?"
            " ORDER BY number DESC LIMIT 1"
        )
        rows = self._database.read(sql, (slug,))
        return record_of(rows[0]) if rows else None

    def revision(self) -> int:
        """A number that changes with any change of any job."""
        return self._database.revisions()["jobs"]

    def append(self, job_id: str, event: Event, at: float | None = None) -> StoredEvent:
        """Store an event and its changes in the job's row. `at` is its unix time, now if left out."""
        with self._database.write() as connection:
            return _append(connection, job_id, event, time.time() if at is None else at)

    def append_missing(self, job_id: str, events: Sequence[tuple[Event, float]]) -> int:
        """Store the events, with unix times, that come after the last stored one; returns their number."""
        with self._database.write() as connection:
            sql = "SELECT at, kind FROM events WHERE job_id = ? AND at >= ?"
            stored_keys = {
                tuple(row) for row in connection.execute(sql, (job_id, min(at for _, at in events)))
            }
            there = [i for i, (event, at) in enumerate(events) if (at, type(event).__name__) in stored_keys]
            missing = events[there[-1] + 1 if there else 0 :]
            for event, at in missing:
                _append(connection, job_id, event, at)
            return len(missing)

    def events(
        self, job_id: str, after: int = 0, kinds: Collection[str] = (), limit: int | None = None
    ) -> list[StoredEvent]:
        """Events in order with a sequence number above `after`. `kinds` are class names, none means all;
        `limit` keeps the newest so many."""
        if not visitor().sees(Kind.JOB, job_id):
            return []
        marks = ", ".join("?" * len(kinds))
        where = "job_id = ? AND sequence > ?" + (f" AND kind IN ({marks})" if kinds else "")
        few = bool(kinds) and StepDone.__name__ not in kinds  # SQLite does not see that itself
        place = "events INDEXED BY other_events" if few else "events"
        where += " AND kind <> 'StepDone'" if few else ""
        sql = f"SELECT sequence, at, json FROM {place} WHERE {where}"
        sql += " ORDER BY sequence DESC LIMIT ?"
        rows = self._database.read(sql, (job_id, after, *kinds, -1 if limit is None else limit))
        return [stored for row in reversed(rows) if (stored := _stored(row)) is not None]

    def losses(self, job_id: str, points: int = 200) -> list[tuple[int, float]]:
        """(step, mean loss since the point before), at most about `points` of them, in order."""
        end = "SELECT {}(step) FROM events INDEXED BY losses WHERE job_id = ? AND kind = 'StepDone'"
        first, last = (self._database.read(end.format(each), (job_id,))[0][0] for each in ("min", "max"))
        if first is None or not visitor().sees(Kind.JOB, job_id):
            return []
        width = math.ceil((last - first + 1) / max(1, points))
        sql = (
            "SELECT max(step), avg(loss) FROM events INDEXED BY losses WHERE job_id = ? AND kind = 'StepDone'"
            " AND loss IS NOT NULL GROUP BY (step - ?) / ? ORDER BY 1"
        )
        return [(int(step), float(loss)) for step, loss in self._database.read(sql, (job_id, first, width))]

    def stop(self, job_id: str, *, only_running: bool = False) -> JobRecord:
        """Stop a waiting, paused or interrupted job at once and set a running one to `stopping`; an ended one
        stays. With `only_running` all but the running one stay."""
        self.own(job_id)
        with self._database.write() as connection:
            row = _row(connection, job_id)
            status = row["status"]
            if status in UNDECIDED and not only_running:
                _append(connection, job_id, Stopped(step=row["step"], path=row["result_path"]), time.time())
            elif status in (JobStatus.RUNNING, JobStatus.PAUSING):
                _update(connection, job_id, {"status": JobStatus.STOPPING})
            return record_of(_row(connection, job_id))

    def next_queued(self, owner: str = "") -> JobRecord | None:
        """The job whose turn it is among those of `owner` (all, if empty)."""
        sql = f"SELECT {FIELDS} FROM jobs WHERE status = 'queued' AND ? IN ('', owner)"
        sql += " ORDER BY coalesce(place, number) LIMIT 1"
        rows = self._database.read(sql, (owner,))
        return record_of(rows[0]) if rows else None

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
        """Record that the process `owner` is alive, for all its jobs."""
        self._database.change(
            f"UPDATE jobs SET heartbeat_at = ? WHERE owner = ? AND status IN {ACTIVE}", (time.time(), owner)
        )

    def interrupt_orphans(self, owner: str) -> list[JobRecord]:
        """Set jobs that ran in a dead process to `interrupted`; jobs that waited there pass to `owner` and
        keep their place. Returns the interrupted ones."""
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
    step = event.step if isinstance(event, OF_A_STEP) else None
    loss = event.loss if isinstance(event, StepDone) else None
    if isinstance(event, Started):
        _forget_after(connection, job_id, event.start_step or -1)
    elif isinstance(event, StepDone) and event.step <= row["step"]:
        _forget_after(connection, job_id, event.step - 1)
    connection.execute(
        "INSERT INTO events(job_id, sequence, at, kind, json, step, loss) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (job_id, sequence, at, data["kind"], json.dumps(data), step, loss),
    )
    _update(connection, job_id, {**changes(dict(row), event, at), "events": sequence})
    return StoredEvent(sequence=sequence, at=at, event=event)


def _forget_after(connection: sqlite3.Connection, job_id: str, step: int) -> None:
    """Delete events after a step, which a run that goes on from there does anew. Notes stay."""
    connection.execute("DELETE FROM events WHERE job_id = ? AND step > ?", (job_id, step))


def _check_free(connection: sqlite3.Connection, job_id: str, folder: str, name: str) -> int:
    """The number of other active jobs. Raises ConfigError if one, or a paused one, has the folder."""
    sql = f"SELECT config, status FROM jobs WHERE id <> ? AND status IN {ACTIVE}"
    others = connection.execute(sql, (job_id,)).fetchall()
    folders = {json.loads(row["config"])["output"]["output_dir"]: row["status"] for row in others}
    if folder in folders:
        paused = folders[folder] == JobStatus.PAUSED
        raise ConfigError(
            f"A training called {name!r} is already {'there, paused' if paused else 'waiting or running'}.",
            "Choose another name, or wait until it is done.",
            field="output_name",
        )
    return sum(JobStatus(row["status"]).active for row in others)


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
    cause = "The computer was restarted" if has_restarted(row["heartbeat_at"] or 0.0) else "The program ended"
    message = f"{cause} while this training ran, at step {row['step']} of {row['total_steps']}."
    hint = "Let it go on: it begins from the start, since no state was saved yet."
    if row["state_step"] is not None:
        hint = f"Let it go on: it goes on from step {row['state_step']}, with the same result."
    if checkpoint:
        hint += (
            f" What it had learned by step {checkpoint['step']} is kept in {Path(checkpoint['path']).name}."
        )
    now = time.time()
    _append(connection, job_id, Noted(message=message, level="warning"), now)
    values = {"status": JobStatus.INTERRUPTED, "finished_at": now, "seconds_left": None}
    _update(connection, job_id, {**values, "message": message, "hint": hint})
    return record_of(_row(connection, job_id))


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


def record_of(row: sqlite3.Row) -> JobRecord:
    """The training of a row with FIELDS."""
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
