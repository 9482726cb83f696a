"""Workers that do no training but emit what one does: the queue is under test here, not the trainer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lora_studio.config import TrainConfig
from lora_studio.jobs.training_queue import TrainingQueue
from lora_studio.settings import Settings
from lora_studio.store.database import Database
from lora_studio.store.job_store import JobStore
from tests.support.configs import named_config
from tests.support.ready_database import put_database
from tests.support.stepping_worker import SteppingWorker
from tests.support.waiting import PATIENCE


@pytest.fixture
def worker() -> SteppingWorker:
    return SteppingWorker()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    put_database(tmp_path / "home" / "studio.db")
    database = Database(tmp_path / "home" / "studio.db")
    yield JobStore(database)
    database.close()


@pytest.fixture
def open_queue(store: JobStore, worker: SteppingWorker) -> Iterator[Callable[..., TrainingQueue]]:
    queues: list[TrainingQueue] = []

    def build(started: bool = True, **changes: Any) -> TrainingQueue:
        queue = TrainingQueue(**{"store": store, "worker": worker, "beat_seconds": 0.05, **changes})
        queues.append(queue)
        if started:
            queue.start()
        return queue

    yield build
    for queue in queues:
        queue.close(timeout=PATIENCE)


@pytest.fixture
def make_config(tiny_base: Path, tmp_path: Path, settings: Settings) -> Callable[..., TrainConfig]:
    """`make_config(name, **changes)`: a training that can be run, of four steps on a tiny base."""
    from tests.support.tiny import make_pictures, tiny_values  # loads torch

    pictures = make_pictures(tmp_path / "pictures")

    def make(name: str = "disc", **changes: Any) -> TrainConfig:
        return TrainConfig.from_values(tiny_values(tiny_base, pictures, settings.loras / name, **changes))

    return make


@pytest.fixture
def config_named(tmp_path: Path) -> Callable[..., TrainConfig]:
    def build(name: str = "cat", steps: int = 5) -> TrainConfig:
        return named_config(name, steps, tmp_path / "pictures", tmp_path / "models" / "lora")

    return build
