"""A worker that trains nothing but emits what one does, step by step: for tests of what stands around it."""

from __future__ import annotations

import threading

from lora_studio.events import Emit, Finished, ShouldStop, Started, StepDone, Stopped
from lora_studio.training_request import RunRequest


def step_done(
    number: int, total: int = 10, *, loss: float = 0.5, average: float | None = None, seconds: float = 0.01
) -> StepDone:
    return StepDone(
        step=number,
        total_steps=total,
        loss=loss,
        average_loss=loss if average is None else average,
        learning_rate=1e-4,
        seconds=seconds,
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
            emit(step_done(number, total))
        if self.raises is not None:
            raise self.raises
        emit(Finished(path=config.output.output_dir, steps=total, seconds=0.1))
        return None

    def go(self, steps: int = 10_000) -> None:
        for _ in range(steps):
            self.permit.release()
