"""A database in a folder of its own, and configs for jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lora_studio.config import TrainConfig
from lora_studio.store.database import Database
from lora_studio.store.job_store import JobStore
from tests.support.configs import named_config
from tests.support.ready_database import put_database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    put_database(tmp_path / "home" / "studio.db")
    database = Database(tmp_path / "home" / "studio.db")
    yield database
    database.close()


@pytest.fixture
def store(database: Database) -> JobStore:
    return JobStore(database)


@pytest.fixture
def config_named(tmp_path: Path) -> Callable[..., TrainConfig]:
    def build(name: str = "cat", steps: int = 10) -> TrainConfig:
        return named_config(name, steps, tmp_path / "pictures", tmp_path / "models" / "lora")

    return build
