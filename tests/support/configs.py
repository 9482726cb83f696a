"""Trainings as settings alone: none of them is ever run on its own pictures."""

from __future__ import annotations

from pathlib import Path

from lora_studio.config import TrainConfig

NEEDED = {
    "pretrained_model_name_or_path": "starter",
    "train_data_dir": "pictures",
    "output_name": "my-cat",
    "output_dir": "out",
}
"""The settings without a default."""


def config(**changes: object) -> TrainConfig:
    return TrainConfig.from_values({**NEEDED, **changes})


def named_config(name: str, steps: int, pictures: Path, loras: Path) -> TrainConfig:
    """A training of so many steps that would write into the folder `name` of `loras`."""
    places = {"train_data_dir": str(pictures), "output_name": name, "output_dir": str(loras / name)}
    return config(**places, title=name.title(), max_train_steps=steps)
