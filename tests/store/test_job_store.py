from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable

import pytest

from lora_studio.config import TrainConfig
from lora_studio.errors import ConfigError, StoreError
from lora_studio.events import (
    CheckpointSaved,
    Failed,
    Finished,
    Noted,
    PhaseAdvanced,
    PreviewSaved,
    Queued,
    Started,
    Stopped,
)
from lora_studio.records import JobStatus
from lora_studio.store.database import Database
from lora_studio.store.job_store import JobStore
from lora_studio.store.process_owner import this_process
from tests.support.stepping_worker import step_done as step

Build = Callable[..., TrainConfig]
DEAD = f"{socket.gethostname()}:{2**22 + 1}:1"
HERE = this_process()


def test_a_new_job_waits_with_its_whole_config(store: JobStore, config_named: Build) -> None:
    config = config_named("cat", steps=7)
    job = store.create(config)
    assert (job.status, job.name, job.total_steps, job.progress) == (JobStatus.QUEUED, "Cat", 7, 0)
    assert TrainConfig.from_json(job.config) == config
    assert store.get(job.id) == job
    assert [stored.event for stored in store.events(job.id)] == [Queued(ahead=0)]


def test_two_active_jobs_never_write_to_one_folder(store: JobStore, config_named: Build) -> None:
    first = store.create(config_named())
    with pytest.raises(ConfigError, match="already waiting or running") as caught:
        store.create(config_named())
    assert caught.value.field == "output_name"
    store.stop(first.id)
    assert store.create(config_named()).status == JobStatus.QUEUED


def test_unknown_jobs_are_named(store: JobStore) -> None:
    for call in (store.get, store.stop, lambda name: store.append(name, Noted(message="x"))):
        with pytest.raises(StoreError, match="no training 'nobody'"):
            call("nobody")
    assert store.events("nobody") == []
    assert store.losses("nobody") == []


def test_jobs_come_newest_first_and_run_oldest_first(store: JobStore, config_named: Build) -> None:
    ids = [store.create(config_named(name)).id for name in ("a", "b", "c")]
    assert [job.id for job in store.jobs()] == ids[::-1]
    assert [job.id for job in store.jobs(limit=2)] == ids[:0:-1]
    assert [job.id for job in store.active()] == ids
    first = store.next_queued()
    assert first is not None
    assert first.id == ids[0]


def test_events_change_the_row_in_one_step_and_keep_their_order(store: JobStore, config_named: Build) -> None:
    job = store.create(config_named())
    revisions, events = [job.revision], [
        Started(total_steps=10, phases=("load", "train"), device="cpu", dtype="float32", images=3),
        PhaseAdvanced(phase="load", done=1, total=1),
        step(1),
        PreviewSaved(step=1, path="a.png", base_path="b.png", prompt="a cat", seed=1),
        CheckpointSaved(step=1, path="cat.safetensors"),
        step(2, loss=0.25),
        Finished(path="models/lora/cat", steps=2, seconds=1),
    ]  # fmt: skip
    for event in events:
        stored = store.append(job.id, event)
        assert store.events(job.id)[-1] == stored
        revisions.append(store.get(job.id).revision)
    assert revisions == sorted(set(revisions))
    assert [stored.sequence for stored in store.events(job.id)] == list(range(1, 9))
    assert [stored.event for stored in store.events(job.id, after=1)] == events
    ended = store.get(job.id)
    assert (ended.status, ended.progress, ended.step, ended.loss) == (JobStatus.FINISHED, 100, 2, 0.25)
    assert ended.result_path == "models/lora/cat"
    assert ended.finished_at is not None


def test_events_can_be_chosen(store: JobStore, config_named: Build) -> None:
    job = store.create(config_named())
    for number in range(1, 6):
        store.append(job.id, step(number))
        store.append(job.id, Noted(message=str(number)))
    notes = store.events(job.id, kinds=("Noted", "Queued"))
    assert [type(stored.event).__name__ for stored in notes] == ["Queued", *["Noted"] * 5]
    assert [stored.event.message for stored in store.events(job.id, kinds=("Noted",), limit=2)] == ["4", "5"]
    assert [stored.event.step for stored in store.events(job.id, after=7, kinds=("StepDone",))] == [4, 5]
    assert len(store.events(job.id, kinds=("StepDone", "Noted"))) == 10


def test_events_of_a_later_version_are_passed_over(
    store: JobStore, database: Database, config_named: Build
) -> None:
    job = store.create(config_named())
    store.append(job.id, Noted(message="known"))
    database.change("UPDATE events SET json = ? WHERE kind = 'Queued'", ('{"kind": "Teleported", "to": 5}',))
    assert [stored.event for stored in store.events(job.id)] == [Noted(message="known")]


def test_losses_are_the_means_between_their_points(store: JobStore, config_named: Build) -> None:
    job = store.create(config_named())
    for number in range(1, 101):
        store.append(job.id, step(number, 100, loss=float(number)))
    store.append(job.id, step(101, 200, loss=float("nan")))
    assert store.losses(job.id, points=1000) == [(number, float(number)) for number in range(1, 101)]
    few = store.losses(job.id, points=10)
    assert few[0] == (11, 6.0)
    assert len(few) == 10
    assert few[-1][0] == 100


def test_stopping(store: JobStore, config_named: Build) -> None:
    waiting, running = store.create(config_named("a")), store.create(config_named("b"))
    assert store.stop(waiting.id).status == JobStatus.STOPPED
    assert isinstance(store.events(waiting.id)[-1].event, Stopped)
    assert not store.claim(waiting.id, HERE)
    assert store.claim(running.id, HERE)
    assert not store.claim(running.id, HERE)
    assert store.stop(running.id).status == JobStatus.STOPPING
    store.append(running.id, Stopped(step=3, path="models/lora/b"))
    assert store.stop(running.id).status == JobStatus.STOPPED
    assert store.stop(running.id).result_path == "models/lora/b"


def test_only_one_of_many_gets_a_job(store: JobStore, config_named: Build) -> None:
    job = store.create(config_named())
    got: list[bool] = []
    threads = [threading.Thread(target=lambda: got.append(store.claim(job.id, HERE))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == [False] * 7 + [True]


def test_the_revision_tells_any_change_but_no_heartbeat(store: JobStore, config_named: Build) -> None:
    seen = [store.revision()]
    job = store.create(config_named(), owner=HERE)
    seen.append(store.revision())
    store.claim(job.id, HERE)
    seen.append(store.revision())
    before = store.get(job.id).heartbeat_at
    store.heartbeat(HERE)
    assert (store.get(job.id).heartbeat_at or 0) > (before or 0)
    assert store.revision() == seen[-1]
    store.append(job.id, Failed(message="x"))
    seen.append(store.revision())
    assert seen == sorted(set(seen))


def test_orphans_become_interrupted_and_say_what_can_be_done(store: JobStore, config_named: Build) -> None:
    bare, saved, stopping = (store.create(config_named(name)) for name in ("a", "b", "c"))
    for job in (bare, saved, stopping):
        store.claim(job.id, DEAD)
    store.append(saved.id, step(8))
    store.append(saved.id, CheckpointSaved(step=5, path="/x/models/lora/b/checkpoints/b-000005.safetensors"))
    store.stop(stopping.id)
    interrupted = store.interrupt_orphans(HERE)
    assert [job.id for job in interrupted] == [bare.id, saved.id, stopping.id]
    assert all(job.status == JobStatus.INTERRUPTED and job.finished_at for job in interrupted)
    assert interrupted[1].message == "The program ended while this training ran, at step 8 of 10."
    assert interrupted[0].resumable
    assert interrupted[0].hint.startswith("Let it go on: it begins from the start")
    assert interrupted[1].hint == (
        f"{interrupted[0].hint} What it had learned by step 5 is kept in b-000005.safetensors."
    )
    assert store.events(saved.id)[-1].event.level == "warning"
    assert store.interrupt_orphans(HERE) == []


def test_jobs_of_living_processes_are_left_alone(store: JobStore, config_named: Build) -> None:
    mine, theirs = store.create(config_named("a"), HERE), store.create(config_named("b"))
    store.claim(mine.id, HERE)
    store.claim(theirs.id, "another-host:5:1")
    assert store.interrupt_orphans("somebody:1:1") == []
    assert {store.get(job.id).status for job in (mine, theirs)} == {JobStatus.RUNNING}


def test_jobs_of_a_silent_host_are_interrupted(
    store: JobStore, database: Database, config_named: Build
) -> None:
    job = store.create(config_named())
    store.claim(job.id, "another-host:5:1")
    database.change("UPDATE jobs SET heartbeat_at = ?", (time.time() - 300,))
    assert [found.id for found in store.interrupt_orphans(HERE)] == [job.id]


def test_waiting_jobs_of_a_dead_process_pass_on_and_keep_their_place(
    store: JobStore, config_named: Build
) -> None:
    theirs, mine = store.create(config_named("a"), DEAD), store.create(config_named("b"), HERE)
    assert store.next_queued(HERE) == mine
    assert store.interrupt_orphans(HERE) == []
    first = store.next_queued(HERE)
    assert first is not None
    assert (first.id, first.status, first.owner) == (theirs.id, JobStatus.QUEUED, HERE)


def test_storing_an_event_is_as_quick_after_many(store: JobStore, config_named: Build) -> None:
    """Counted in the processor's time, so that a busy machine and a slow disk do not matter."""
    job = store.create(config_named(steps=2000))
    seconds = []
    for number in range(1, 1001):
        begun = time.thread_time()
        store.append(job.id, step(number, 2000))
        seconds.append(time.thread_time() - begun)
    first, last = (sorted(part)[50] for part in (seconds[:100], seconds[-100:]))
    assert last < 4 * first
