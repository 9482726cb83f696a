"""The subsets of a run: of a dataset config, of a set that came with one, or of Kohya's folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lora_studio.config_groups import DatasetGroup
from lora_studio.data.training_set.dataset_config import (
    ConfigSubsets,
    config_subsets,
    folder_config,
    starting_options,
)
from lora_studio.data.training_set.subsets import folder_subsets, regularisation_subsets
from lora_studio.files import expanded

SUBSETS = "subsets.toml"
"""A dataset config in the folder of a set, which holds whenever the folder is trained on."""
REGULARISATION = "reg"
"""The folder of a set for the regularisation pictures that its dataset config named."""


def run_subsets(data: DatasetGroup) -> ConfigSubsets:
    """The datasets and subsets of a run, with notes. Raises DatasetError, ConfigError."""
    if data.dataset_config:
        return config_subsets(data)
    file = expanded(data.train_data_dir) / SUBSETS
    if data.in_json or not file.is_file():
        return ConfigSubsets((data,), *folder_subsets(data))
    found = folder_config(file, data)
    if data.reg_data_dir:
        of_reg, notes = regularisation_subsets(data)
        return ConfigSubsets(found.datasets, [*found.subsets, *of_reg], [*found.notes, *notes])
    return found


def has_subsets(folder: Path | str) -> bool:
    """Whether a set came with a dataset config."""
    return (expanded(folder) / SUBSETS).is_file()


def has_regularisation(folder: Path | str) -> bool:
    """Whether a set came with regularisation pictures."""
    return has_subsets(folder) and (expanded(folder) / REGULARISATION).is_dir()


def options_of_set(folder: Path | str) -> dict[str, Any]:
    """Settings of a training from the dataset config that its set came with. Raises ConfigError."""
    return starting_options(expanded(folder) / SUBSETS) if has_subsets(folder) else {}
