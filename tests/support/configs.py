"""Trainings as settings alone: none of them is ever run on its own pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lora_studio.config import TrainConfig
from lora_studio.estimate import TrainingEstimate

NEEDED = {
    "pretrained_model_name_or_path": "starter",
    "train_data_dir": "pictures",
    "output_name": "my-cat",
    "output_dir": "out",
}
"""The settings without a default."""
ESTIMATE = TrainingEstimate(
    steps=200,
    images=10,
    bucket=(64, 64),
    seconds_per_step=0.2,
    load_seconds=2,
    cache_seconds=1,
    train_seconds=40,
    preview_seconds=197,
    ram_bytes=690_000_000,
    device_bytes=0,
    disk_bytes=12_000_000,
    device="CPU",
)

ConfigMaker = Callable[..., TrainConfig]


def config(**changes: object) -> TrainConfig:
    return TrainConfig.from_values({**NEEDED, **changes})


def named_config(name: str, steps: int, pictures: Path, loras: Path) -> TrainConfig:
    """A training of so many steps that would write into the folder `name` of `loras`."""
    places = {"train_data_dir": str(pictures), "output_name": name, "output_dir": str(loras / name)}
    return config(**places, title=name.title(), max_train_steps=steps)
