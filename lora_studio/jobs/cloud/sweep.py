"""Sweeps: one training for each combination of values of some settings."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

from lora_studio.config import TrainConfig, config_leaf
from lora_studio.errors import ConfigError
from lora_studio.parsing.slugs import slug_from

MOST, SHORT = 100, 40
"""Trainings of a sweep; letters of the name that its trainings begin with."""
NOT_VARIED = {"output_name", "output_dir", "train_data_dir", "pretrained_model_name_or_path"}


def read_values(texts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The values of `name=a,b,c`, by setting. Raises ConfigError."""
    found: dict[str, tuple[str, ...]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        if not equals or not values.strip():
            raise ConfigError(
                f"{text!r} is not of the form name=a,b,c.", "For example learning_rate=1e-4,5e-5."
            )
        name = config_leaf(name.strip()).name
        if name in NOT_VARIED:
            raise ConfigError(f"{name} can't be varied in a sweep.", "Vary another setting.", field=name)
        found[name] = tuple(value.strip() for value in values.split(",") if value.strip())
    return found


def sweep(config: TrainConfig, values: Mapping[str, Sequence[str]]) -> list[TrainConfig]:
    """A configuration for each combination, named after its values, with a folder of its own beside the
    others. Raises ConfigError for values that are none and for too many combinations."""
    combinations = [dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values())]
    if len(combinations) > MOST:
        raise ConfigError(
            f"These are {len(combinations)} trainings, {MOST} are allowed in a sweep.", "Vary less."
        )
    found = []
    for number, chosen in enumerate(combinations, 1):
        name = config.output.output_name
        if chosen:
            name = slug_from("-".join([name[:SHORT], str(number), *chosen.values()]))
        place = Path(config.output.output_dir).with_name(name)
        found.append(config.with_values({**chosen, "output_name": name, "output_dir": str(place)}))
    return found
