"""A locked database: the run goes on, the page follows, and nothing is lost, even when killed."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lora_studio.config import TrainConfig
from lora_studio.jobs import event_sink as receiving
from lora_studio.jobs.training_queue import TrainingQueue
from lora_studio.records import JobStatus
from lora_studio.store.database import Database
from lora_studio.store.event_spool import NAME
from lora_studio.store.job_store import JobStore
from tests.support.serving import CHECKOUT
from tests.support.stepping_worker import SteppingWorker
from tests.support.waiting import PATIENCE, until

PROGRAM = """
import json, sqlite3, sys, time
from pathlib import Path
from lora_studio.config import TrainConfig
from lora_studio.jobs.training_queue import TrainingQueue
from lora_studio.store import database
from lora_studio.store.job_store import JobStore
from tests.support.stepping_worker import SteppingWorker

database.BUSY_SECONDS = 0.01
path = Path(sys.argv[1])
worker = SteppingWorker()
queue = TrainingQueue(JobStore(database.Database(path)), worker, beat_seconds=60)
job = queue.submit(TrainConfig.from_json(json.loads(sys.argv[2])))
queue.start()
worker.go(3)
while queue.get(job.id).step < 3:
    time.sleep(0.01)
lock = sqlite3.connect(path, isolation_level=None)
lock.execute("BEGIN IMMEDIATE")
worker.go(4)
while queue.get(job.id).step < 7:
    time.sleep(0.01)
print(job.id, flush=True)
time.sleep(600)
"""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """By another program."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[JobStore]:
    monkeypatch.setattr("lora_studio.store.database.BUSY_SECONDS", 0.01)
    monkeypatch.setattr(receiving, "PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(receiving, "LONGEST_PAUSE", 0.1)
    database = Database(tmp_path / "home" / "studio.db")
    yield JobStore(database)
    database.close()


def test_a_locked_database_holds_up_nobody(
    store: JobStore,
    open_queue: Callable[..., TrainingQueue],
    worker: SteppingWorker,
    config_named: Callable[..., TrainConfig],
    tmp_path: Path,
) -> None:
    queue = open_queue()
    job = queue.submit(config_named(steps=20))
    worker.go(5)
    until(lambda: queue.get(job.id).step == 5)
    with locked(tmp_path / "home" / "studio.db"):
        before = queue.revision
        worker.go(10)
        until(lambda: queue.get(job.id).step == 15)
        assert store.get(job.id).step == 5
        assert queue.revision != before  # so the page looks again
        assert queue.jobs()[0].progress > store.get(job.id).progress
        assert (store.folder(job.id) / NAME).exists()
    worker.go()
    assert queue.wait(job.id, timeout=PATIENCE).status == JobStatus.FINISHED
    steps = [stored.event.step for stored in store.events(job.id, kinds=["StepDone"])]
    assert steps == list(range(1, 21))
    assert not (store.folder(job.id) / NAME).exists()


def test_a_program_killed_meanwhile_loses_nothing(
    store: JobStore,
    open_queue: Callable[..., TrainingQueue],
    config_named: Callable[..., TrainConfig],
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "home" / "studio.db")]
    command.append(config_named(steps=50).model_dump_json())
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT) as child:
        assert child.stdout is not None
        job_id = child.stdout.readline().strip()
        child.kill()
    assert store.get(job_id).step == 3
    queue = open_queue()
    until(lambda: queue.get(job_id).status == JobStatus.INTERRUPTED)
    assert store.get(job_id).step == 7
    steps = [stored.event.step for stored in store.events(job_id, kinds=["StepDone"])]
    assert steps == list(range(1, 8))
    assert not (store.folder(job_id) / NAME).exists()
