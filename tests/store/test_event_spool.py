"""Events that the database does not take are seen all the same, and stored once, also after a crash."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lora_studio.config import TrainConfig
from lora_studio.events import Event, Finished, Noted, Started
from lora_studio.records import JobRecord, JobStatus
from lora_studio.store.event_spool import EventSpool, laid_over, replay
from lora_studio.store.job_store import JobStore
from tests.support.stepping_worker import step_done as step

STARTED = Started(total_steps=10, phases=("train",), device="cpu", dtype="float32", images=2)


@pytest.fixture
def job(store: JobStore, config_named: Callable[..., TrainConfig]) -> JobRecord:
    job = store.create(config_named())
    for at, event in enumerate((STARTED, step(1), step(2)), 10):
        store.append(job.id, event, float(at))
    return store.get(job.id)


def kinds(store: JobStore, job: JobRecord) -> list[str]:
    return [type(stored.event).__name__ for stored in store.events(job.id)]


def test_a_job_is_shown_as_its_unstored_events_left_it(store: JobStore, job: JobRecord) -> None:
    folder = store.folder(job.id)
    assert laid_over(job, folder) is job
    EventSpool(folder).add([(step(3), 13.0), (step(4), 14.0)])
    seen = laid_over(job, folder)
    assert (seen.step, seen.loss, seen.status) == (4, 0.5, JobStatus.RUNNING)
    assert seen.progress > job.progress
    assert seen.revision > job.revision
    EventSpool(folder).add([(Finished(path="x", steps=10, seconds=1.0), 15.0)])
    assert laid_over(job, folder).status == JobStatus.FINISHED
    assert store.get(job.id) == job


def test_replayed_in_order_and_then_gone(store: JobStore, job: JobRecord) -> None:
    unstored = EventSpool(store.folder(job.id))
    unstored.add([(step(3), 13.0)])
    unstored.add([(Finished(path="x", steps=10, seconds=1.0), 14.0)])
    assert replay(store, job.id) == 2
    assert not unstored.path.exists()
    assert kinds(store, job)[-2:] == ["StepDone", "Finished"]
    assert store.get(job.id).status == JobStatus.FINISHED
    assert [stored.at for stored in store.events(job.id)][-2:] == [13.0, 14.0]


@pytest.mark.parametrize("already", [0, 1, 2, 3])
def test_what_was_stored_before_the_crash_is_not_stored_twice(
    store: JobStore, job: JobRecord, already: int
) -> None:
    """The process was killed after so many of them, before it could remove the file."""
    events: list[tuple[Event, float]] = [(step(3), 13.0), (Noted(message="n"), 14.0), (step(4), 15.0)]
    EventSpool(store.folder(job.id)).add(events)
    for event, at in events[:already]:
        store.append(job.id, event, at)
    assert replay(store, job.id) == 3 - already
    assert kinds(store, job)[-3:] == ["StepDone", "Noted", "StepDone"]
    assert kinds(store, job).count("StepDone") == 4


def test_steps_that_a_run_took_back_do_not_return(store: JobStore, job: JobRecord) -> None:
    """It went back to step 3, which takes 3 and 4 away; the crash came after that."""
    events: list[tuple[Event, float]] = [(step(3), 13.0), (step(4), 14.0), (step(3), 15.0)]
    EventSpool(store.folder(job.id)).add(events)
    for event, at in events:
        store.append(job.id, event, at)
    assert replay(store, job.id) == 0
    assert store.get(job.id).step == 3
    assert kinds(store, job).count("StepDone") == 3


def test_a_line_cut_short_is_left_out(store: JobStore, job: JobRecord, tmp_path: Path) -> None:
    unstored = EventSpool(store.folder(job.id))
    unstored.add([(step(3), 13.0)])
    with unstored.path.open("a") as file:
        file.write('{"at": 14.0, "kind": "Ste')
    assert [event for event, _ in unstored.read()] == [step(3)]
    assert replay(store, job.id) == 1
