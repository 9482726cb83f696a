from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lora_studio.config import TrainConfig
from lora_studio.errors import ConfigError, DeviceBusy, DiskFull, OutOfMemory, StoreError
from lora_studio.events import Emit, Failed, Finished, Noted, ShouldStop
from lora_studio.jobs.training_queue import MOST_WAITING, TrainingQueue
from lora_studio.records import JobRecord, JobStatus
from lora_studio.store.job_store import JobStore
from lora_studio.training_request import RunRequest
from tests.support.stepping_worker import SteppingWorker
from tests.support.stepping_worker import step_done as step
from tests.support.waiting import PATIENCE, until

Build = Callable[..., TrainConfig]
Open = Callable[..., TrainingQueue]


def test_a_job_runs_to_its_end(
    open_queue: Open, store: JobStore, worker: SteppingWorker, config_named: Build
) -> None:
    queue = open_queue()
    worker.go()
    job = queue.wait(queue.submit(config_named()).id, timeout=PATIENCE)
    assert (job.status, job.progress, job.step, job.phase) == (JobStatus.FINISHED, 100, 5, "train")
    assert [number for number, _ in store.losses(job.id)] == [1, 2, 3, 4, 5]
    assert [type(stored.event).__name__ for stored in queue.events(job.id)] == [
        "Queued", "Started", *["StepDone"] * 5, "Finished",
    ]  # fmt: skip


def test_jobs_run_one_at_a_time_in_their_order(
    open_queue: Open, worker: SteppingWorker, config_named: Build
) -> None:
    queue = open_queue()
    jobs = [queue.submit(config_named(name)) for name in ("a", "b", "c")]
    until(lambda: queue.get(jobs[0].id).status == JobStatus.RUNNING)
    assert [queue.get(job.id).status for job in jobs[1:]] == [JobStatus.QUEUED] * 2
    assert queue.names_in_use() == {"a", "b", "c"}
    running = queue.running()
    assert running is not None
    assert running.id == jobs[0].id
    worker.go()
    assert [queue.wait(job.id, timeout=PATIENCE).status for job in jobs] == [JobStatus.FINISHED] * 3
    assert worker.ran == ["a", "b", "c"]
    assert queue.running() is None
    assert queue.names_in_use() == set()


def test_a_submitted_job_begins_at_once(
    open_queue: Open, worker: SteppingWorker, config_named: Build
) -> None:
    queue = open_queue(beat_seconds=30.0)
    time.sleep(0.2)  # the worker's thread waits by now
    worker.go()
    assert queue.wait(queue.submit(config_named()).id, timeout=PATIENCE).status == JobStatus.FINISHED


def test_a_running_job_stops_within_a_step(
    open_queue: Open, worker: SteppingWorker, config_named: Build
) -> None:
    queue = open_queue(beat_seconds=30.0)  # the heartbeat would notice, too, but later
    job = queue.submit(config_named())
    worker.go(2)
    until(lambda: queue.get(job.id).step == 2)
    assert queue.stop(job.id).status == JobStatus.STOPPING
    stopped = queue.wait(job.id, timeout=PATIENCE)
    assert (stopped.status, stopped.step) == (JobStatus.STOPPED, 2)
    assert stopped.result_path.endswith("cat")
    assert queue.stop(job.id) == stopped


def test_a_waiting_job_is_stopped_at_once_and_never_runs(
    open_queue: Open, worker: SteppingWorker, config_named: Build
) -> None:
    queue = open_queue()
    first, second, third = (queue.submit(config_named(name)) for name in ("a", "b", "c"))
    assert queue.stop(second.id).status == JobStatus.STOPPED
    worker.go()
    queue.wait(third.id, timeout=PATIENCE)
    assert queue.get(first.id).status == JobStatus.FINISHED
    assert worker.ran == ["a", "c"]


def test_a_stop_written_by_another_process_is_obeyed(
    open_queue: Open, store: JobStore, config_named: Build
) -> None:
    queue = open_queue()
    job = queue.submit(config_named())
    until(lambda: queue.get(job.id).status == JobStatus.RUNNING)
    store.stop(job.id)
    assert queue.wait(job.id, timeout=PATIENCE).status == JobStatus.STOPPED


def test_a_running_job_shows_signs_of_life(open_queue: Open, config_named: Build) -> None:
    queue = open_queue()
    job = queue.submit(config_named())
    until(lambda: queue.get(job.id).status == JobStatus.RUNNING)
    first = queue.get(job.id).heartbeat_at or 0
    until(lambda: (queue.get(job.id).heartbeat_at or 0) > first)


def test_a_known_failure_keeps_its_sentence_and_the_queue_goes_on(
    open_queue: Open, worker: SteppingWorker, config_named: Build
) -> None:
    calls: list[int] = []
    ended: list[JobRecord] = []
    queue = open_queue(on_finished=lambda job: calls.append(1), on_ended=ended.append)
    worker.go()
    worker.raises = OutOfMemory("The card has too little memory.", "Make the batch smaller.")
    failed = queue.wait(queue.submit(config_named()).id, timeout=PATIENCE)
    assert (failed.status, failed.message, failed.hint) == (
        JobStatus.FAILED, "The card has too little memory.", "Make the batch smaller.",
    )  # fmt: skip
    assert calls == []
    worker.raises = None
    assert queue.wait(queue.submit(config_named()).id, timeout=PATIENCE).status == JobStatus.FINISHED
    assert calls == [1]
    assert [job.status for job in ended] == [JobStatus.FAILED, JobStatus.FINISHED]


@pytest.mark.parametrize("error", [ZeroDivisionError("by zero\nsecond line"), SystemExit(3), MemoryError()])
def test_an_unexpected_failure_leaves_its_traceback_in_the_log(
    open_queue: Open, worker: SteppingWorker, config_named: Build, error: BaseException
) -> None:
    queue = open_queue()
    worker.go()
    worker.raises = error
    failed = queue.wait(queue.submit(config_named()).id, timeout=PATIENCE)
    assert failed.status == JobStatus.FAILED
    assert f"unexpected error ({type(error).__name__}" in failed.message
    assert "second line" not in failed.message
    log = queue.log_tail(failed.id)
    assert "Traceback (most recent call last)" in log
    assert "raise self.raises" in log
    worker.raises = None
    assert queue.wait(queue.submit(config_named()).id, timeout=PATIENCE).status == JobStatus.FINISHED


def test_a_failure_after_the_end_does_not_undo_it(open_queue: Open, config_named: Build) -> None:
    class Stumbling:
        def run(self, request: RunRequest, emit: Emit, should_stop: ShouldStop) -> None:
            emit(Finished(path="x", steps=5, seconds=1))
            raise RuntimeError("while clearing up")

    calls: list[int] = []
    queue = open_queue(worker=Stumbling(), on_finished=lambda job: calls.append(1))
    job = queue.wait(queue.submit(config_named()).id, timeout=PATIENCE)
    assert job.status == JobStatus.FINISHED
    assert "while clearing up" in queue.log_tail(job.id)
    assert calls == [1]


def test_a_worker_that_says_nothing_has_failed_or_was_stopped(open_queue: Open, config_named: Build) -> None:
    class Silent:
        def run(self, request: RunRequest, emit: Emit, should_stop: ShouldStop) -> None:
            while request.config.output.output_name == "patient" and not should_stop():
                time.sleep(0.01)

    queue = open_queue(worker=Silent())
    assert "without a result" in queue.wait(queue.submit(config_named()).id, timeout=PATIENCE).message
    patient = queue.submit(config_named("patient"))
    queue.stop(patient.id)
    assert queue.wait(patient.id, timeout=PATIENCE).status == JobStatus.STOPPED


def test_a_listener_that_fails_hurts_nobody(
    open_queue: Open, worker: SteppingWorker, config_named: Build
) -> None:
    def fail(job: JobRecord) -> None:
        raise RuntimeError("the library is upset")

    queue = open_queue(on_finished=fail)
    worker.go()
    for name in ("a", "b"):
        assert queue.wait(queue.submit(config_named(name)).id, timeout=PATIENCE).status == JobStatus.FINISHED


def test_wait_returns_only_after_the_listener(
    open_queue: Open, worker: SteppingWorker, config_named: Build
) -> None:
    done: list[JobRecord] = []

    def listen(job: JobRecord) -> None:
        time.sleep(0.2)
        done.extend(queue.jobs())

    queue = open_queue(on_finished=listen)
    worker.go()
    job = queue.wait(queue.submit(config_named()).id, timeout=PATIENCE)
    assert done == [job]


def test_wait_gives_up_in_time(open_queue: Open, config_named: Build) -> None:
    queue = open_queue()
    begun = time.monotonic()
    job = queue.wait(queue.submit(config_named()).id, timeout=0.3)
    assert job.status.active
    assert time.monotonic() - begun > 0.25
    with pytest.raises(StoreError):
        queue.wait("nobody", timeout=0)


def test_files_of_a_job(
    open_queue: Open, worker: SteppingWorker, config_named: Build, tmp_path: Path
) -> None:
    queue = open_queue()
    worker.go()
    job = queue.wait(queue.submit(config_named(steps=200)).id, timeout=PATIENCE)
    folder = tmp_path / "home" / "jobs" / job.id
    lines = [json.loads(line) for line in (folder / "events.jsonl").read_text("utf-8").splitlines()]
    assert [line["kind"] for line in lines] == ["Started", *["StepDone"] * 200, "Finished"]
    assert all(line["at"] > 1e9 for line in lines)
    log = queue.log_tail(job.id, lines=500).splitlines()
    assert len(log) == 52
    assert "Started on cpu in float32: 2 pictures, 200 steps." in log[0]
    assert "Step 200 of 200: loss 0.5000" in log[-2]
    assert queue.log_tail(job.id, lines=1).splitlines() == log[-1:]
    with pytest.raises(StoreError):
        queue.log_tail("../../etc")


def test_again_takes_the_same_settings_and_never_writes_over_a_result(
    open_queue: Open, worker: SteppingWorker, config_named: Build, tmp_path: Path
) -> None:
    queue = open_queue()
    first = queue.submit(config_named())
    assert queue.again(first.id).config["output"]["output_name"] == "cat-2"
    worker.go()
    for job in queue.jobs():
        queue.wait(job.id, timeout=PATIENCE)
    fresh = queue.again(first.id)
    assert fresh.config == first.config
    assert fresh.id != first.id
    queue.wait(fresh.id, timeout=PATIENCE)
    result = tmp_path / "models" / "lora" / "cat" / "checkpoints" / "cat-000002.safetensors"
    result.parent.mkdir(parents=True)
    result.write_bytes(b"kept")
    second = queue.again(first.id)
    assert second.config["output"]["output_name"] == "cat-2"
    assert second.config["output"]["output_dir"] == str(tmp_path / "models" / "lora" / "cat-2")
    assert second.config["optimizer"] == first.config["optimizer"]


def test_the_same_name_twice_is_refused(open_queue: Open, config_named: Build) -> None:
    queue = open_queue()
    queue.submit(config_named())
    with pytest.raises(ConfigError, match="already"):
        queue.submit(config_named())


def test_closing_pauses_the_running_job_and_keeps_the_waiting_ones(
    open_queue: Open, worker: SteppingWorker, config_named: Build
) -> None:
    queue = open_queue()
    first, second = queue.submit(config_named("a")), queue.submit(config_named("b"))
    until(lambda: queue.get(first.id).status == JobStatus.RUNNING)
    queue.close(timeout=PATIENCE)
    closed = queue.get(first.id)
    assert closed.status == JobStatus.PAUSED
    assert closed.resumable
    assert "closed" in closed.message
    assert queue.get(second.id).status == JobStatus.QUEUED
    assert any("being closed" in stored.event.message for stored in queue.events(first.id, kinds=("Noted",)))
    later = open_queue()
    worker.go()
    assert later.wait(second.id, timeout=PATIENCE).status == JobStatus.FINISHED


def test_starting_twice_starts_one_worker(
    open_queue: Open, worker: SteppingWorker, config_named: Build
) -> None:
    queue = open_queue()
    queue.start()
    job, other = queue.submit(config_named("a")), queue.submit(config_named("b"))
    until(lambda: queue.get(job.id).status == JobStatus.RUNNING)
    time.sleep(0.1)
    assert queue.get(other.id).status == JobStatus.QUEUED


def test_a_queue_that_was_not_started_only_looks(
    open_queue: Open, worker: SteppingWorker, config_named: Build
) -> None:
    queue = open_queue(started=False)
    job = queue.submit(config_named())
    time.sleep(0.1)
    assert queue.get(job.id).status == JobStatus.QUEUED
    worker.go()
    queue.start()
    assert queue.wait(job.id, timeout=PATIENCE).status == JobStatus.FINISHED


def test_a_database_that_fails_for_a_while_loses_no_event(
    open_queue: Open,
    store: JobStore,
    worker: SteppingWorker,
    config_named: Build,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lora_studio.jobs.event_sink.PAUSE_SECONDS", 0.05)
    queue = open_queue()
    job = queue.submit(config_named(steps=30))
    worker.go(3)
    until(lambda: queue.get(job.id).step == 3)
    whole = store.append

    def fail(*arguments: object) -> None:
        raise StoreError("The database is locked by another program.")

    monkeypatch.setattr(store, "append", fail)
    worker.go(10)
    until(lambda: queue.get(job.id).step == 13)  # told by the file beside the job's log
    assert store.get(job.id).step == 3
    monkeypatch.setattr(store, "append", whole)
    worker.go()
    assert queue.wait(job.id, timeout=PATIENCE).status == JobStatus.FINISHED
    steps = [stored.event.step for stored in queue.events(job.id, kinds=("StepDone",))]
    assert steps == list(range(1, 31))


def test_a_job_folder_that_cannot_be_written_is_logged_once(
    open_queue: Open,
    worker: SteppingWorker,
    config_named: Build,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "home").mkdir(exist_ok=True)
    (tmp_path / "home" / "jobs").write_text("in the way")
    queue = open_queue()
    worker.go()
    job = queue.wait(queue.submit(config_named()).id, timeout=PATIENCE)
    assert job.status == JobStatus.FINISHED
    assert len(queue.events(job.id)) == 8
    assert sum("can't be written to the job's folder" in record.message for record in caplog.records) == 1


def test_an_old_config_that_no_longer_reads_fails_with_a_sentence(
    open_queue: Open, store: JobStore, config_named: Build
) -> None:
    job = store.create(config_named())
    store._database.change("UPDATE jobs SET config = replace(config, '\"version\": 1', '\"version\": 99')")
    failed = open_queue().wait(job.id, timeout=PATIENCE)
    assert failed.status == JobStatus.FAILED
    assert "later version" in failed.message


def test_every_event_moves_the_revision(
    open_queue: Open, worker: SteppingWorker, config_named: Build
) -> None:
    queue = open_queue()
    job = queue.submit(config_named())
    until(lambda: queue.get(job.id).status == JobStatus.RUNNING and len(queue.events(job.id)) == 2)
    before = queue.revision
    worker.go(1)
    until(lambda: queue.revision > before)
    assert queue.get(job.id).step == 1


def test_steps_look_like_a_trainers(store: JobStore, config_named: Build) -> None:
    """The worker of these tests speaks the real language: what it says survives the store unchanged."""
    job = store.create(config_named())
    for event in (step(1, 5), Failed(message="m", hint="h"), Noted(message="x", level="warning")):
        store.append(job.id, event)
        assert store.events(job.id)[-1].event == event


def test_a_queue_has_an_end(
    open_queue: Callable[..., TrainingQueue], config_named: Callable[..., TrainConfig]
) -> None:
    queue = open_queue(started=False)
    for number in range(MOST_WAITING):
        queue.submit(config_named(f"cat-{number}"))
    with pytest.raises(DeviceBusy, match=f"{MOST_WAITING} trainings are waiting already"):
        queue.submit(config_named("one-more"))
    queue.stop(queue.jobs()[0].id)
    queue.submit(config_named("one-more"))


def test_on_a_full_disk_nothing_is_queued(
    open_queue: Callable[..., TrainingQueue],
    config_named: Callable[..., TrainConfig],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    queue = open_queue(started=False)
    monkeypatch.setenv("LORA_STUDIO_KEEP_FREE_GB", "900000")
    with pytest.raises(DiskFull, match="A training can't be stored"):
        queue.submit(config_named())
    assert queue.jobs() == []
