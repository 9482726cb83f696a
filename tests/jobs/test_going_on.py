"""Pause, resume, save and preview now: from the queue down to real training and back."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lora_studio.config import TrainConfig
from lora_studio.errors import StoreError
from lora_studio.events import Emit, ShouldStop, Started, StepDone
from lora_studio.jobs.thread_worker import ThreadWorker
from lora_studio.jobs.training_queue import FROM_THE_START, TrainingQueue
from lora_studio.lora.file.lora_files import find_file, read_header
from lora_studio.records import JobRecord, JobStatus
from lora_studio.runtime import DeviceLease
from lora_studio.store.job_store import JobStore
from lora_studio.training_request import RunRequest
from tests.support import killed
from tests.support.forks import PROCESSES
from tests.support.stepping_worker import SteppingWorker
from tests.support.tiny import make_pictures, make_tiny_base, tiny_values
from tests.support.waiting import PATIENCE, until

Open = Callable[..., TrainingQueue]
Build = Callable[..., TrainConfig]
STEPS = 40


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    top = tmp_path_factory.mktemp("tiny")
    return make_tiny_base(top / "base"), make_pictures(top / "pictures")


@pytest.fixture
def tiny_config(material: tuple[Path, Path], tmp_path: Path) -> Build:
    def build(name: str, **changes: object) -> TrainConfig:
        values = {"max_train_steps": STEPS, "save_state_every_n_steps": 1, "save_every_n_steps": 0, **changes}
        return TrainConfig.from_values(tiny_values(*material, tmp_path / "lora" / name, **values))

    return build


def tensor_hash(job: JobRecord) -> str:
    return read_header(find_file(Path(job.result_path))).tensor_hash


def steps_of(queue: TrainingQueue, job_id: str) -> list[int]:
    return [stored.event.step for stored in queue.events(job_id, kinds=("StepDone",))]


@pytest.mark.slow
def test_a_real_training_is_paused_told_and_resumed(open_queue: Open, tiny_config: Build) -> None:
    lease = DeviceLease()
    queue = open_queue(worker=ThreadWorker(lease))
    whole = queue.wait(queue.submit(tiny_config("whole")).id, timeout=PATIENCE)
    job = queue.submit(tiny_config("paused"))
    until(lambda: queue.get(job.id).step >= 2)
    queue.save_now(job.id)
    until(lambda: queue.events(job.id, kinds=("CheckpointSaved",)))
    asked_at = queue.get(job.id).step
    assert queue.pause(job.id).status in {JobStatus.PAUSING, JobStatus.PAUSED}
    paused = queue.wait(job.id, timeout=PATIENCE)
    assert paused.status == JobStatus.PAUSED
    assert asked_at <= paused.step < STEPS
    assert paused.state_step == paused.step
    assert lease.holder == ""
    assert queue.running() is None
    assert queue.resume(job.id).id == job.id
    done = queue.wait(job.id, timeout=PATIENCE)
    assert done.status == JobStatus.FINISHED
    assert tensor_hash(done) == tensor_hash(whole)
    assert steps_of(queue, job.id) == [*range(1, STEPS + 1)]
    with pytest.raises(StoreError, match="it is finished"):
        queue.resume(job.id)


def test_after_kill_9_the_next_program_resumes_the_run(
    open_queue: Open, tiny_config: Build, tmp_path: Path
) -> None:
    values = tiny_config("killed", max_train_steps=400).values()
    receiver, sender = PROCESSES.Pipe(duplex=False)
    child = PROCESSES.Process(
        target=killed.run_in_queue, args=(str(tmp_path / "home" / "studio.db"), values, sender)
    )
    child.start()
    sender.close()
    job_id = receiver.recv()
    child.kill()
    child.join(PATIENCE)
    queue = open_queue(worker=ThreadWorker(DeviceLease()))
    interrupted = queue.get(job_id)
    assert interrupted.status == JobStatus.INTERRUPTED
    assert interrupted.resumable
    assert interrupted.state_step is not None
    queue.resume(job_id)
    until(lambda: len(queue.events(job_id, kinds=("Started",))) == 2)
    first = queue.events(job_id, kinds=("Started",))[-1].event
    until(lambda: queue.get(job_id).step > first.start_step)
    assert first.start_step >= interrupted.state_step > 0
    queue.stop(job_id)
    stopped = queue.wait(job_id, timeout=PATIENCE)
    assert stopped.status == JobStatus.STOPPED
    steps = steps_of(queue, job_id)
    assert steps == [*range(1, steps[-1] + 1)]
    again = queue.fork(job_id)
    assert again.id != job_id
    assert again.config["output"]["output_name"] == "killed-2"
    until(lambda: queue.get(again.id).step >= 1)
    notes = [stored.event.message for stored in queue.events(again.id, kinds=("Noted",))]
    assert any("begins with the weights that another one had" in note for note in notes)
    queue.stop(again.id)
    queue.wait(again.id, timeout=PATIENCE)


def test_what_was_killed_before_its_first_state_begins_from_the_start(
    open_queue: Open, store: JobStore, tiny_config: Build
) -> None:
    config = tiny_config("early", max_train_steps=6, save_state_every_n_steps=0)
    dead = f"{socket.gethostname()}:{2**22 + 1}:1"
    job = store.create(config, dead)
    store.claim(job.id, dead)
    told = {"total_steps": 6, "loss": 0.5, "average_loss": 0.5, "learning_rate": 1e-4, "seconds": 0.1}
    store.append(job.id, Started(total_steps=6, phases=("train",), device="cpu", dtype="float32"))
    store.append(job.id, StepDone(step=1, **told))
    left = Path(config.output.output_dir) / "previews" / "base-0.png"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"cut off")
    queue = open_queue(worker=ThreadWorker(DeviceLease()))
    assert (queue.get(job.id).status, queue.get(job.id).state_step) == (JobStatus.INTERRUPTED, None)
    queue.resume(job.id)
    again = queue.wait(job.id, timeout=PATIENCE)
    assert (again.status, again.message, again.run) == (JobStatus.FINISHED, "", 2)
    assert steps_of(queue, job.id) == [*range(1, 7)]
    assert FROM_THE_START in queue.log_tail(job.id)
    whole = queue.submit(tiny_config("whole", max_train_steps=6, save_state_every_n_steps=0))
    assert tensor_hash(queue.wait(whole.id, timeout=PATIENCE)) == tensor_hash(again)


def test_a_state_that_is_gone_is_told_before_anything_runs(open_queue: Open, tiny_config: Build) -> None:
    import shutil

    queue = open_queue(worker=ThreadWorker(DeviceLease()))
    job = queue.submit(tiny_config("gone", max_train_steps=100_000))
    until(lambda: (queue.get(job.id).state_step or 0) >= 2)
    queue.pause(job.id)
    paused = queue.wait(job.id, timeout=PATIENCE)
    shutil.rmtree(paused.config["output"]["output_dir"])
    for action in (queue.resume, queue.fork):
        with pytest.raises(StoreError, match="has left no state"):
            action(job.id)
    assert queue.get(job.id).status == JobStatus.PAUSED


class Listening(SteppingWorker):
    """Asks for commands between its steps and keeps what it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []
        self.asked: list[RunRequest] = []

    def run(self, request: RunRequest, emit: Emit, should_stop: ShouldStop) -> None:
        self.asked.append(request)

        def ask() -> bool:
            self.heard.extend(iter(request.commands, None))
            return should_stop()

        super().run(request, emit, ask)


def test_a_command_of_another_program_is_heard(
    open_queue: Open, store: JobStore, config_named: Build
) -> None:
    worker = Listening()
    queue = open_queue(worker=worker)
    job = queue.submit(config_named())
    until(lambda: queue.get(job.id).status == JobStatus.RUNNING)
    store.command(job.id, "preview")
    until(lambda: worker.heard)
    queue.save_now(job.id)
    until(lambda: len(worker.heard) == 2)
    assert worker.heard == ["preview", "save"]
    (asked,) = worker.asked
    assert (asked.resume_from, asked.fork, asked.folder) == (None, False, store.folder(job.id))
    worker.go()
    queue.wait(job.id, timeout=PATIENCE)


def test_a_database_that_fails_does_not_hurt_a_run_that_is_told_something(
    open_queue: Open, store: JobStore, config_named: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Listening()
    queue = open_queue(worker=worker)
    job = queue.submit(config_named())
    until(lambda: queue.get(job.id).status == JobStatus.RUNNING)
    whole, tried = store.take_command, list[str]()

    def fail(job_id: str) -> None:
        tried.append(job_id)
        raise StoreError("The database is locked.")

    monkeypatch.setattr(store, "take_command", fail)
    queue.save_now(job.id)
    until(lambda: tried)
    monkeypatch.setattr(store, "take_command", whole)
    until(lambda: worker.heard == ["save"])
    worker.go()
    assert queue.wait(job.id, timeout=PATIENCE).status == JobStatus.FINISHED


def test_a_waiting_job_is_paused_at_once(open_queue: Open, config_named: Build) -> None:
    worker = Listening()
    queue = open_queue(worker=worker)
    first, second = queue.submit(config_named("a")), queue.submit(config_named("b"))
    until(lambda: queue.get(first.id).status == JobStatus.RUNNING)
    assert queue.pause(second.id).status == JobStatus.PAUSED
    worker.go()
    queue.wait(first.id, timeout=PATIENCE)
    time.sleep(0.1)
    assert worker.ran == ["a"]
    queue.resume(second.id)
    assert queue.wait(second.id, timeout=PATIENCE).status == JobStatus.FINISHED
    assert [(asked.resume_from, asked.fork) for asked in worker.asked] == [(None, False)] * 2


def test_what_could_not_be_stored_at_the_end_is_stored_later(
    open_queue: Open, store: JobStore, config_named: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk takes the database along; the page sees the end from the file of unstored events, and when
    there is room, the database has it too."""
    monkeypatch.setattr("lora_studio.jobs.training_queue.SETTLE_SECONDS", 0.2)
    worker = Listening()
    queue = open_queue(worker=worker)
    job = queue.submit(config_named())
    until(lambda: queue.get(job.id).status == JobStatus.RUNNING)
    whole = store.append

    def fail(*arguments: object) -> None:
        raise StoreError("The disk is full.")

    monkeypatch.setattr(store, "append", fail)
    worker.go()
    until(lambda: queue.get(job.id).status == JobStatus.FINISHED)
    assert store.get(job.id).status == JobStatus.RUNNING
    monkeypatch.setattr(store, "append", whole)
    until(lambda: store.get(job.id).status == JobStatus.FINISHED)


def test_sd_scripts_can_not_be_paused(open_queue: Open, config_named: Build) -> None:
    worker = Listening()
    queue = open_queue(worker=worker)
    job = queue.submit(config_named().with_values({"engine": "sd-scripts"}))
    until(lambda: queue.get(job.id).status == JobStatus.RUNNING)
    with pytest.raises(StoreError, match="can't be paused"):
        queue.pause(job.id)
    assert queue.get(job.id).status == JobStatus.RUNNING
    worker.go()
    queue.wait(job.id, timeout=PATIENCE)
