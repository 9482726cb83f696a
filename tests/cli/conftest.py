"""What the commands' tests share: a tiny real base model, and a way to run a command."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lora_studio.cli.main import main
from lora_studio.config import TrainConfig
from lora_studio.events import Started, StepDone
from lora_studio.records import JobRecord
from lora_studio.settings import Settings
from lora_studio.store.database import Database
from lora_studio.store.job_store import JobStore
from tests.support.tiny import make_pictures

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


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run `lora-studio` with these arguments in this process."""

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as leaving:
            code = int(leaving.code or 0)
        said = capsys.readouterr()
        return Outcome(code, said.out, said.err)

    return run


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of four pictures with captions."""
    return make_pictures(tmp_path / "pictures")


@pytest.fixture
def train_quickly(command: Command, tiny_base: Path, pictures: Path) -> Command:
    """`lora-studio train` on the tiny base with the given further arguments."""

    def run(*arguments: object, name: str = "My disc", steps: int = 2) -> Outcome:
        options = ("--images", pictures, "--name", name, "--kind", "object", "--base", tiny_base)
        return command("train", *options, "--steps", steps, *QUICK, *arguments)

    return run


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
