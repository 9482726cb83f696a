"""`lora-studio` in this process, and a job for it to speak of."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lora_studio.config import TrainConfig
from lora_studio.events import Started, StepDone
from lora_studio.records import JobRecord
from lora_studio.settings import Settings
from lora_studio.store.database import Database
from lora_studio.store.job_store import JobStore

QUICK = (
    "--set", "resolution=64", "--set", "min_bucket_reso=32", "--set", "max_bucket_reso=128",
    "--set", "train_batch_size=1", "--set", "sample_steps=2", "--set", "network_dim=2",
)  # fmt: skip
"""Settings that suit the tiny base: it is meant for 64 pixels."""


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Command = Callable[..., Outcome]


def stored_job(name: str = "my-disc", owner: str = "", started: bool = True) -> tuple[JobStore, JobRecord]:
    """A job of this test's studio, halfway through if it has started."""
    settings = Settings.from_environment()
    settings.create_folders()
    store = JobStore(Database(settings.database))
    config = TrainConfig.from_values(
        {
            "pretrained_model_name_or_path": "starter",
            "train_data_dir": "pictures",
            "output_name": name,
            "output_dir": str(settings.loras / name),
            "title": "My disc",
            "max_train_steps": 40,
        }
    )
    job = store.create(config, owner)
    if not started:
        return store, job
    store.append(
        job.id, Started(total_steps=40, phases=("load", "train"), device="cpu", dtype="float32", images=4)
    )
    done = {"total_steps": 40, "loss": 0.5, "average_loss": 0.25, "learning_rate": 1e-4, "seconds": 1.0}
    for step in (19, 20):
        store.append(job.id, StepDone(step=step, **done))
    return store, store.get(job.id)
