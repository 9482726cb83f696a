"""Trainings and captionings in a process of their own, which somebody else may kill."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from PIL import Image

from lora_studio.captioning import caption_run
from lora_studio.captioning.captioner import ENGINES
from lora_studio.captioning.starter_captioner import StarterCaptioner
from lora_studio.config import TrainConfig
from lora_studio.dataset import Datasets
from lora_studio.events import Event, StepDone
from lora_studio.jobs.captioning.captioning_jobs import CaptioningJobs
from lora_studio.jobs.captioning.captioning_request import CaptioningRequest
from lora_studio.jobs.thread_worker import ThreadWorker
from lora_studio.jobs.training_queue import TrainingQueue
from lora_studio.lora.run_states import state_files, state_folder
from lora_studio.runtime import DeviceLease
from lora_studio.settings import Settings
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


def run_captioning(home: str, dataset_id: str, begun: Connection) -> None:
    """Caption a set of that home, and tell once a caption is kept and the second picture looked at."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.environ["LORA_STUDIO_HOME"] = home
    settings, calls = Settings.from_environment(), itertools.count()
    database = Database(settings.database)

    def captions(self: StarterCaptioner, images: Sequence[Image.Image]) -> list[str]:
        if next(calls):
            begun.send("second")
            time.sleep(600)
        return ["first"]

    caption_run.KEPT_AT_ONCE, StarterCaptioner.batch = 1, 1
    StarterCaptioner.captions = captions  # type: ignore[method-assign]
    jobs = CaptioningJobs(Datasets(settings, database), DeviceLease(), database)
    jobs.begin(CaptioningRequest(dataset_id=dataset_id, engine=ENGINES["starter"]))
    jobs.wait(dataset_id)
