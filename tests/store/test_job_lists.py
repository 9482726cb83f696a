"""The line of those that wait, and the history."""

from __future__ import annotations

import pytest

from lora_studio.config import TrainConfig
from lora_studio.errors import StoreError
from lora_studio.events import Started
from lora_studio.records import JobStatus
from lora_studio.store.database import Database
from lora_studio.store.job_lists import ended_jobs, ended_mark, move_job, present_jobs
from lora_studio.store.job_store import JobStore
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
