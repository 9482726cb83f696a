"""A process that is killed leaves no job running for ever; one that lives is left alone."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lora_studio.config import TrainConfig
from lora_studio.jobs import training_queue as module
from lora_studio.jobs.processes.process_worker import FAR_END, FOLDER
from lora_studio.jobs.training_queue import TrainingQueue
from lora_studio.records import JobStatus
from lora_studio.store.job_store import JobStore
from tests.support.serving import CHECKOUT
from tests.support.stepping_worker import SteppingWorker
from tests.support.waiting import PATIENCE

PROGRAM = """
import sys, time
from pathlib import Path
from lora_studio.config import TrainConfig
from lora_studio.jobs.training_queue import TrainingQueue
from lora_studio.store.database import Database
from lora_studio.store.job_store import JobStore
from tests.support.stepping_worker import SteppingWorker

worker = SteppingWorker()
queue = TrainingQueue(JobStore(Database(Path(sys.argv[1]))), worker, beat_seconds=0.05)
ids = [queue.submit(TrainConfig.from_json(__import__("json").loads(text))).id for text in sys.argv[2:]]
queue.start()
worker.go(3)
while queue.get(ids[0]).step < 3:
    time.sleep(0.01)
print(*ids, flush=True)
time.sleep(600)
"""


@pytest.fixture
def other_process(tmp_path: Path, config_named: Callable[..., TrainConfig]):  # type: ignore[no-untyped-def]
    """Another program on the same home, at step 3 of its first job while its second one waits."""
    configs = [config_named(name, steps=50).model_dump_json() for name in ("first", "second")]
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "home" / "studio.db"), *configs]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT) as child:
        assert child.stdout is not None
        yield child, child.stdout.readline().split()
        child.kill()


def test_a_killed_run_is_interrupted_and_what_waited_runs(
    other_process: tuple[subprocess.Popen[str], list[str]],
    store: JobStore,
    open_queue: Callable[..., TrainingQueue],
    worker: SteppingWorker,
) -> None:
    child, (running, waiting) = other_process
    child.kill()
    child.wait()
    assert store.get(running).status == JobStatus.RUNNING  # nobody was left to say otherwise
    worker.go()
    queue = open_queue()
    job = queue.get(running)
    assert job.status == JobStatus.INTERRUPTED
    assert job.message == "The program ended while this training ran, at step 3 of 50."
    assert job.hint
    assert len(JobStore(queue._store._database).losses(running)) == 3
    assert queue.wait(waiting, timeout=PATIENCE).status == JobStatus.FINISHED
    assert worker.ran == ["second"]
    again = queue.wait(queue.again(running).id, timeout=PATIENCE)
    assert again.status == JobStatus.FINISHED
    assert again.config == job.config


def test_jobs_of_a_living_program_are_left_alone_until_it_dies(
    other_process: tuple[subprocess.Popen[str], list[str]],
    open_queue: Callable[..., TrainingQueue],
    worker: SteppingWorker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "ORPHAN_SECONDS", 0.1)
    child, (running, waiting) = other_process
    queue = open_queue()
    time.sleep(0.5)
    assert queue.get(running).status == JobStatus.RUNNING
    assert queue.get(waiting).status == JobStatus.QUEUED
    worker.go()
    child.kill()
    child.wait()
    assert queue.wait(running, timeout=PATIENCE).status == JobStatus.INTERRUPTED
    assert queue.wait(waiting, timeout=PATIENCE).status == JobStatus.FINISHED


def test_a_job_can_be_stopped_from_another_program(
    other_process: tuple[subprocess.Popen[str], list[str]], open_queue: Callable[..., TrainingQueue]
) -> None:
    _, (running, _) = other_process
    queue = open_queue(started=False)
    assert queue.stop(running).status == JobStatus.STOPPING
    assert queue.wait(running, timeout=PATIENCE).status == JobStatus.STOPPED


@pytest.mark.parametrize("saves", [True, False])
def test_what_a_child_of_a_killed_program_writes_is_left_alone(
    saves: bool,
    store: JobStore,
    config_named: Callable[..., TrainConfig],
    open_queue: Callable[..., TrainingQueue],
) -> None:
    """A training in a process of its own saves a state when its studio is gone, which takes a while."""
    config = config_named()
    job = store.create(config, "dead")
    assert store.claim(job.id, "dead")
    unfinished = Path(config.output.output_dir) / "state" / ".state-00000003.pt.0123456789ab.tmp"
    unfinished.parent.mkdir(parents=True)
    unfinished.write_bytes(b"half")
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    where = [FAR_END, str(store.folder(job.id) / FOLDER)] if saves else []
    with subprocess.Popen([*sleep, *where]) as child:
        try:
            assert open_queue().get(job.id).status == JobStatus.INTERRUPTED
            assert unfinished.exists() == saves
        finally:
            child.kill()
