"""Workers that do no training but emit what one does: the queue is under test here, not the trainer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lora_studio.config import TrainConfig
from lora_studio.events import Emit, Finished, ShouldStop, Started, StepDone, Stopped
from lora_studio.jobs.training_queue import TrainingQueue
from lora_studio.store.database import Database
from lora_studio.store.job_store import JobStore
from lora_studio.training_request import RunRequest
from tests.support.waiting import PATIENCE


def step(number: int, total: int) -> StepDone:
    return StepDone(
        step=number, total_steps=total, loss=0.5, average_loss=0.5, learning_rate=1e-4, seconds=0.01
    )


class SteppingWorker:
    """Goes one step for each `permit`; `ran` lists the names in the order in which they began."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.permit = threading.Semaphore(0)
        self.raises: BaseException | None = None

    def run(self, request: RunRequest, emit: Emit, should_stop: ShouldStop) -> None:
        config = request.config
        total = config.optimizer.max_train_steps
        self.ran.append(config.output.output_name)
        emit(Started(total_steps=total, phases=("train",), device="cpu", dtype="float32", images=2))
        for number in range(1, total + 1):
            while not self.permit.acquire(timeout=0.01):
                if should_stop():
                    return emit(Stopped(step=number - 1, path=config.output.output_dir))
            emit(step(number, total))
        if self.raises is not None:
            raise self.raises
        emit(Finished(path=config.output.output_dir, steps=total, seconds=0.1))
        return None

    def go(self, steps: int = 10_000) -> None:
        for _ in range(steps):
            self.permit.release()


@pytest.fixture
def worker() -> SteppingWorker:
    return SteppingWorker()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
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
def config_named(tmp_path: Path) -> Callable[..., TrainConfig]:
    def build(name: str = "cat", steps: int = 5) -> TrainConfig:
        return TrainConfig.from_values(
            {
                "pretrained_model_name_or_path": "starter",
                "train_data_dir": str(tmp_path / "pictures"),
                "output_name": name,
                "output_dir": str(tmp_path / "models" / "lora" / name),
                "title": name.title(),
                "max_train_steps": steps,
            }
        )

    return build
