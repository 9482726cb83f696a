"""What the store keeps of trainings that are paused, resumed and told something."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from lora_studio.config import TrainConfig
from lora_studio.errors import ConfigError, StoreError
from lora_studio.events import (
    CheckpointSaved,
    Event,
    Failed,
    Finished,
    Noted,
    Paused,
    PreviewSaved,
    Started,
    StateSaved,
    Stopped,
    Validated,
)
from lora_studio.records import JobStatus
from lora_studio.store.job_store import JobStore
from tests.support.stepping_worker import step_done as step

Build = Callable[..., TrainConfig]
DEAD = f"{socket.gethostname()}:{2**22 + 1}:1"


def started(at: int = 0) -> Started:
    return Started(total_steps=10, phases=("train",), device="cpu", dtype="float32", start_step=at)


def preview(number: int) -> PreviewSaved:
    return PreviewSaved(step=number, path=f"{number}.png", base_path="b.png", prompt="", seed=1)


def run(store: JobStore, job_id: str, *events: Event) -> None:
    store.claim(job_id, "here")
    for event in events:
        store.append(job_id, event)


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (Paused(step=4), JobStatus.PAUSED),
        (Stopped(step=4), JobStatus.STOPPED),
        (Failed(message="The disk is full."), JobStatus.FAILED),
    ],
)
def test_an_ended_job_with_a_state_goes_on_under_its_own_id(
    store: JobStore, config_named: Build, end: Event, status: JobStatus
) -> None:
    job = store.create(config_named())
    run(store, job.id, started(), *map(step, range(1, 5)), StateSaved(step=3, path="s"), end)
    ended = store.get(job.id)
    assert (ended.status, ended.state_step, ended.step) == (status, 3, 4)
    assert ended.resumable
    assert not ended.status.active
    again = store.resume(job.id, "there")
    assert (again.id, again.status, again.owner, again.message) == (job.id, JobStatus.QUEUED, "there", "")
    assert again.finished_at is None
    waiting = store.next_queued("there")
    assert waiting is not None
    assert waiting.id == job.id


@pytest.mark.parametrize("end", [Stopped(step=1), Failed(message="The disk is full."), Paused(step=0)])
def test_without_a_state_a_job_begins_anew(store: JobStore, config_named: Build, end: Event) -> None:
    job = store.create(config_named())
    run(store, job.id, started(), step(1), end)
    assert store.get(job.id).resumable
    assert (store.resume(job.id).status, store.get(job.id).state_step) == (JobStatus.QUEUED, None)
    with pytest.raises(StoreError, match="it is queued"):
        store.resume(job.id)
    run(store, job.id, started(), step(1))
    assert [stored.event.step for stored in store.events(job.id, kinds=("StepDone",))] == [1]


def test_a_job_that_left_a_lora_and_no_state_is_done(store: JobStore, config_named: Build) -> None:
    stopped = store.create(config_named("a"))
    run(store, stopped.id, started(), step(1), Stopped(step=1, path="/x/a"))
    assert not store.get(stopped.id).resumable
    with pytest.raises(StoreError, match="has left no state") as caught:
        store.resume(stopped.id)
    assert caught.value.hint == "Start it over."


def test_a_finished_job_can_not_be_resumed(store: JobStore, config_named: Build) -> None:
    job = store.create(config_named())
    run(store, job.id, started(), StateSaved(step=3, path="s"), Finished(path="x", steps=10, seconds=1))
    assert store.get(job.id).state_step is None
    with pytest.raises(StoreError, match="it is finished"):
        store.resume(job.id)


def test_no_step_counts_twice_after_a_resume(store: JobStore, config_named: Build) -> None:
    job = store.create(config_named())
    told: list[Event] = [started(), preview(0), *(step(n, loss=n) for n in range(1, 7))]
    told += [preview(3), CheckpointSaved(step=6, path="c"), preview(6), Validated(step=6, loss=1.0)]
    run(store, job.id, *told, StateSaved(step=3, path="s"), Noted(message="Mind this."), Paused(step=6))
    store.resume(job.id)
    run(store, job.id, started(3))
    at_start = store.get(job.id)
    assert (at_start.step, at_start.status) == (3, JobStatus.RUNNING)
    assert at_start.progress == pytest.approx(5 + 92 * 0.3)
    assert store.losses(job.id) == [(1, 1.0), (2, 2.0), (3, 3.0)]
    kinds = [type(stored.event).__name__ for stored in store.events(job.id, after=1)]
    assert kinds == [
        *("Started", "PreviewSaved", "StepDone", "StepDone", "StepDone", "PreviewSaved"),
        *("StateSaved", "Noted", "Paused", "Queued", "Started"),
    ]
    run(store, job.id, *(step(n, loss=10 * n) for n in range(4, 11)))
    assert store.losses(job.id) == [
        *((n, float(n)) for n in range(1, 4)),
        *((n, 10.0 * n) for n in range(4, 11)),
    ]


def test_no_step_counts_twice_when_a_run_goes_back(store: JobStore, config_named: Build) -> None:
    job = store.create(config_named())
    run(store, job.id, started(), *map(step, range(1, 8)), preview(5), Noted(message="Back to step 3."))
    run(store, job.id, *(step(n, loss=0.25) for n in (4, 5)))
    assert store.losses(job.id) == [*((n, 0.5) for n in (1, 2, 3)), (4, 0.25), (5, 0.25)]
    assert store.events(job.id, kinds=("PreviewSaved",)) == []
    assert store.events(job.id, kinds=("Noted",))
    assert store.get(job.id).step == 5
    assert store.get(job.id).progress == pytest.approx(5 + 92 * 0.5)


def test_what_is_left_is_reckoned_from_this_part_of_the_run(store: JobStore, config_named: Build) -> None:
    job = store.create(config_named())
    store.claim(job.id, "here")
    for at, event in enumerate([started(), step(1), step(2), StateSaved(step=2, path="s"), Paused(step=2)]):
        store.append(job.id, event, at=1000.0 + at)
    store.resume(job.id)
    store.append(job.id, started(2), at=90_000.0)
    for number in (3, 4, 5):
        store.append(job.id, step(number), at=90_000.0 + number)
    left = store.get(job.id).seconds_left
    assert left is not None
    assert left < 10


def test_a_paused_job_keeps_its_name_and_survives_a_restart(store: JobStore, config_named: Build) -> None:
    job = store.create(config_named(), DEAD)
    run(store, job.id, started(), step(1), StateSaved(step=1, path="s"), Paused(step=1))
    with pytest.raises(ConfigError, match="already there, paused"):
        store.create(config_named())
    store.interrupt_orphans("here")
    assert store.get(job.id).status == JobStatus.PAUSED


def test_resuming_into_a_folder_that_another_job_has_taken_is_refused(
    store: JobStore, config_named: Build
) -> None:
    job = store.create(config_named())
    run(store, job.id, started(), step(1), StateSaved(step=1, path="s"), Stopped(step=1))
    store.create(config_named())
    with pytest.raises(ConfigError, match="already waiting or running"):
        store.resume(job.id)


def test_a_killed_job_says_from_where_it_can_go_on(store: JobStore, config_named: Build) -> None:
    job = store.create(config_named(), DEAD)
    store.claim(job.id, DEAD)
    for event in (started(), *map(step, range(1, 5)), StateSaved(step=3, path="s")):
        store.append(job.id, event)
    store.command(job.id, "pause")  # it was killed before it could obey
    (interrupted,) = store.interrupt_orphans("here")
    assert interrupted.status == JobStatus.INTERRUPTED
    assert interrupted.resumable
    assert interrupted.hint.startswith("Let it go on: it goes on from step 3")
    store.resume(job.id, "here")
    assert store.take_command(job.id) is None, "what was told the dead process is forgotten"


def test_commands_are_taken_once_and_in_order(store: JobStore, config_named: Build) -> None:
    job = store.create(config_named())
    run(store, job.id, started())
    assert not store.has_commands(job.id)
    for command in ("save", "preview", "pause"):
        store.command(job.id, command)  # type: ignore[arg-type]
    assert store.get(job.id).status == JobStatus.PAUSING
    assert store.command(job.id, "pause").status == JobStatus.PAUSING
    assert store.has_commands(job.id)
    assert [store.take_command(job.id) for _ in range(4)] == ["save", "preview", "pause", None]
    store.append(job.id, started())
    assert store.get(job.id).status == JobStatus.PAUSING, "told while it was still loading"
    assert store.stop(job.id).status == JobStatus.STOPPING


def test_only_a_running_job_can_be_told_something(store: JobStore, config_named: Build) -> None:
    job = store.create(config_named())
    with pytest.raises(StoreError, match="not running: it is queued"):
        store.command(job.id, "save")
    assert store.command(job.id, "pause").status == JobStatus.PAUSED
    assert store.next_queued() is None
    with pytest.raises(StoreError, match="it is paused"):
        store.command(job.id, "preview")
    assert store.stop(job.id).status == JobStatus.STOPPED
    with pytest.raises(StoreError, match="it is stopped"):
        store.command(job.id, "pause")


def test_a_resumed_run_that_is_stopped_at_once_keeps_its_earlier_result(
    store: JobStore, config_named: Build
) -> None:
    job = store.create(config_named())
    run(store, job.id, started(), step(1), StateSaved(step=1, path="s"), Stopped(step=1, path="lora/cat"))
    store.resume(job.id)
    run(store, job.id, started(1), Stopped(step=1))
    assert store.get(job.id).result_path == "lora/cat"


def test_a_fork_remembers_where_it_began(store: JobStore, config_named: Build) -> None:
    assert store.create(config_named(), fork_of="cat/state").fork_of == "cat/state"


def test_the_time_at_work_leaves_out_the_break(
    store: JobStore, config_named: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1_000.0]
    monkeypatch.setattr("lora_studio.store.job_store.time.time", lambda: now[0])
    job = store.create(config_named("a"))
    now[0] += 50  # waits
    store.claim(job.id, "here")
    now[0] += 30  # works
    store.append(job.id, StateSaved(step=4, path="4.state"))
    store.append(job.id, Paused(step=4))
    now[0] += 5_000  # rests
    assert store.get(job.id).seconds_at_work(now[0]) == 30
    store.resume(job.id)
    now[0] += 7
    assert store.get(job.id).seconds_at_work(now[0]) == 30
    store.claim(job.id, "here")
    now[0] += 12
    assert store.get(job.id).seconds_at_work(now[0]) == 42
    store.append(job.id, Finished(path="a", steps=10, seconds=42.0))
    now[0] += 100
    assert store.get(job.id).seconds_at_work(now[0]) == 42


def test_what_was_interrupted_ended_with_its_last_sign_of_life(
    store: JobStore, config_named: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1_000.0]
    monkeypatch.setattr("lora_studio.store.job_store.time.time", lambda: now[0])
    job = store.create(config_named("a"), DEAD)
    store.claim(job.id, DEAD)
    now[0] += 20
    store.heartbeat(DEAD)
    now[0] += 86_400
    assert [one.id for one in store.interrupt_orphans("another")] == [job.id]
    assert store.get(job.id).seconds_at_work(now[0]) == 20
