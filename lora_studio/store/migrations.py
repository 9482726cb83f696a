"""The database's schema as a list of steps. Step n leads from version n to n + 1 and never changes again."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable


def _first_tables(connection: sqlite3.Connection) -> None:
    """`jobs.number` gives the order of the queue; `train_*` and `step_seconds` carry the estimate of the time
    left. Library rows keep their record as JSON; the columns beside it are what is searched and sorted by."""
    for statement in (
        """CREATE TABLE jobs (
            number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL,
            status TEXT NOT NULL, config TEXT NOT NULL, created_at REAL NOT NULL, started_at REAL,
            finished_at REAL, heartbeat_at REAL, progress REAL NOT NULL DEFAULT 0,
            step INTEGER NOT NULL DEFAULT 0, total_steps INTEGER NOT NULL DEFAULT 0,
            phase TEXT NOT NULL DEFAULT '', loss REAL, seconds_left REAL, message TEXT NOT NULL DEFAULT '',
            hint TEXT NOT NULL DEFAULT '', result_path TEXT NOT NULL DEFAULT '',
            revision INTEGER NOT NULL DEFAULT 0, owner TEXT NOT NULL DEFAULT '',
            events INTEGER NOT NULL DEFAULT 0, train_started_at REAL, train_seconds REAL NOT NULL DEFAULT 0,
            train_steps INTEGER NOT NULL DEFAULT 0, step_seconds REAL)""",
        "CREATE INDEX jobs_by_status ON jobs(status, number)",
        """CREATE TABLE events (
            job_id TEXT NOT NULL REFERENCES jobs(id) ON DELETE CASCADE, sequence INTEGER NOT NULL,
            at REAL NOT NULL, kind TEXT NOT NULL, json TEXT NOT NULL, step INTEGER, loss REAL,
            PRIMARY KEY (job_id, sequence)) WITHOUT ROWID""",
        "CREATE INDEX losses ON events(job_id, kind, step, loss) WHERE kind = 'StepDone'",
        "CREATE INDEX other_events ON events(job_id, sequence, kind) WHERE kind <> 'StepDone'",
        """CREATE TABLE loras (
            slug TEXT PRIMARY KEY, id TEXT NOT NULL, created_at REAL NOT NULL, search TEXT NOT NULL,
            fingerprint TEXT NOT NULL, record TEXT NOT NULL)""",
        """CREATE TABLE images (
            path TEXT PRIMARY KEY, id TEXT NOT NULL, created_at REAL NOT NULL, search TEXT NOT NULL,
            fingerprint TEXT NOT NULL, record TEXT NOT NULL)""",
        "CREATE INDEX images_by_id ON images(id)",
        "CREATE INDEX images_by_age ON images(created_at)",
        """CREATE TABLE datasets (
            id TEXT PRIMARY KEY, created_at REAL NOT NULL, record TEXT NOT NULL)""",
    ):
        connection.execute(statement)


def _resuming(connection: sqlite3.Connection) -> None:
    """`commands` holds what a running job was told and has not yet heard: any process may write there."""
    for statement in (
        "ALTER TABLE jobs ADD COLUMN state_step INTEGER",
        "ALTER TABLE jobs ADD COLUMN fork_of TEXT NOT NULL DEFAULT ''",
        """CREATE TABLE commands (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            job_id TEXT NOT NULL REFERENCES jobs(id) ON DELETE CASCADE, command TEXT NOT NULL)""",
    ):
        connection.execute(statement)


MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (_first_tables, _resuming)
