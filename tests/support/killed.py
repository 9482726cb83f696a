"""Trainings in a process of their own, which somebody else may kill."""

from __future__ import annotations

import os
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from lora_studio.config import TrainConfig
from lora_studio.events import Event, StepDone
from lora_studio.jobs.thread_worker import ThreadWorker
from lora_studio.jobs.training_queue import TrainingQueue
from lora_studio.lora.run_states import state_files, state_folder
from lora_studio.runtime import DeviceLease
from lora_studio.store.database import Database
from lora_studio.store.job_store import JobStore
from lora_studio.trainer import train


def run(values: dict[str, Any], steps: Connection) -> None:
    """Train, from the newest state if there is one, and tell each step."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    config = TrainConfig.from_values(values)
    states: Path = state_folder(config.output.output_dir)

    def emit(event: Event) -> None:
        if isinstance(event, StepDone):
            steps.send(event.step)

    train(config, emit, resume_from=states if state_files(states) else None)


def run_in_queue(database: str, values: dict[str, Any], begun: Connection) -> None:
    """Train as a program does that has this database, and tell the job once its fifth step is done."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    queue = TrainingQueue(JobStore(Database(Path(database))), ThreadWorker(DeviceLease()), beat_seconds=0.05)
    job = queue.submit(TrainConfig.from_values(values))
    queue.start()
    while queue.get(job.id).step < 5:
        time.sleep(0.005)
    begun.send(job.id)
    time.sleep(600)
