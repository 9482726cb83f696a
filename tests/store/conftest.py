"""A database in a folder of its own, and configs for jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lora_studio.config import TrainConfig
from lora_studio.store.database import Database
from lora_studio.store.job_store import JobStore


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "home" / "studio.db")
    yield database
    database.close()


@pytest.fixture
def store(database: Database) -> JobStore:
    return JobStore(database)


@pytest.fixture
def config_named(tmp_path: Path) -> Callable[..., TrainConfig]:
    def build(name: str = "cat", steps: int = 10) -> TrainConfig:
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
