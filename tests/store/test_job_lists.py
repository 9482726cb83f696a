"""The line of those that wait, and the history."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from lora_studio.config import TrainConfig
from lora_studio.errors import StoreError
from lora_studio.events import Started, Stopped
from lora_studio.records import JobStatus
from lora_studio.store.database import Database
from lora_studio.store.job_lists import (
    ended_jobs,
    ended_mark,
    interrupted_jobs,
    last_ended,
    move_job,
    present_jobs,
)
from lora_studio.store.job_store import JobStore
from lora_studio.store.migrations import MIGRATIONS
from tests.support.configs import NEEDED


@pytest.fixture
def store(database: Database) -> JobStore:
    return JobStore(database)


def waiting(store: JobStore, *names: str) -> list[str]:
    made = [
        {**NEEDED, "output_name": name.lower().replace(" ", "-"), "output_dir": name, "title": name}
        for name in names
    ]
    return [store.create(TrainConfig.from_values(values)).id for values in made]


def line(database: Database) -> list[str]:
    return [job.name for job in present_jobs(database) if job.status is JobStatus.QUEUED]


def test_those_that_wait_are_moved_and_taken_in_that_order(store: JobStore, database: Database) -> None:
    first, second, third = waiting(store, "first", "second", "third")
    revision = store.revision()
    move_job(database, third, -1)
    assert line(database) == ["first", "third", "second"]
    assert store.revision() > revision
    move_job(database, third, -1)
    move_job(database, third, -1)  # is the first already
    assert line(database) == ["third", "first", "second"]
    move_job(database, first, 1)
    assert line(database) == ["third", "second", "first"]
    waiting(store, "fourth")
    assert line(database)[-1] == "fourth"
    taken = store.next_queued()
    assert taken is not None
    assert taken.id == third
    store.claim(third, "test")
    store.append(third, Started(total_steps=1, phases=("train",), device="cpu", dtype="fp32"))
    with pytest.raises(StoreError, match="waits no more"):
        move_job(database, third, 1)
    store.command(second, "pause")
    assert [job.name for job in present_jobs(database)] == ["third", "second", "first", "fourth"]


def test_the_history_is_searched_and_counted_whole(store: JobStore, database: Database) -> None:
    ids = waiting(store, *(f"Ink {number}" for number in range(5)), "A fox")
    assert ended_jobs(database) == ([], 0)
    mark = ended_mark(database)
    for job_id in ids:
        store.stop(job_id)
    assert ended_mark(database) != mark
    jobs, found = ended_jobs(database, " INK ", limit=2)
    assert ([job.name for job in jobs], found) == (["Ink 4", "Ink 3"], 5)
    assert [job.name for job in ended_jobs(database, "fox")[0]] == ["A fox"]
    assert ended_jobs(database, "%")[1] == 0
    assert line(database) == []


def test_the_history_counts_its_own_changes_alone(store: JobStore, database: Database) -> None:
    runs, ends = waiting(store, "runs", "ends")
    mark = ended_mark(database)
    store.claim(runs, "test")
    store.append(runs, Started(total_steps=9, phases=("train",), device="cpu", dtype="fp32"))
    assert ended_mark(database) == mark, "a step of one that runs is none of the history's"
    store.stop(ends)
    stopped = ended_mark(database)
    assert stopped > mark
    with database.write() as connection:
        connection.execute("UPDATE jobs SET removed = 'x', revision = revision + 1 WHERE id = ?", (ends,))
    removed = ended_mark(database)
    assert removed > stopped
    with database.write() as connection:
        connection.execute("DELETE FROM jobs WHERE id = ?", (ends,))
    assert ended_mark(database) > removed


def test_the_last_that_ended(store: JobStore, database: Database) -> None:
    first, second = waiting(store, "first", "second")
    assert last_ended(database, 0.0) is None
    store.append(second, Stopped(step=0), at=100.0)
    store.append(first, Stopped(step=0), at=200.0)
    found = last_ended(database, 150.0)
    assert found is not None
    assert found.id == first
    assert last_ended(database, 200.0) is None
    assert interrupted_jobs(database) == []
    with database.write() as connection:
        connection.execute("UPDATE jobs SET status = 'interrupted'")
    assert [job.id for job in interrupted_jobs(database)] == [second, first]
    assert [job.id for job in interrupted_jobs(database, limit=1)] == [second]


def test_a_database_of_before_counts_its_history(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    before = next(i for i, step in enumerate(MIGRATIONS) if "steady_lists" in step.__name__)
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        for step in MIGRATIONS[:before]:
            step(old)
        old.execute(f"PRAGMA user_version = {before}")
        old.execute(
            "INSERT INTO jobs(id, name, status, config, created_at) VALUES ('a', 'a', 'stopped', '{}', 1)"
        )
    with closing(Database(path)) as database:
        mark = ended_mark(database)
        with database.write() as connection:
            connection.execute("UPDATE jobs SET revision = revision + 1")
        assert ended_mark(database) == mark + 1
