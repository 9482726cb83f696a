"""The result of a training, and the path of its LoRA, whichever engine makes it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lora_studio.config_groups import OutputGroup
from lora_studio.errors import ConfigError
from lora_studio.lora.file.lora_files import file_name

Ending = Literal["finished", "stopped", "paused"]


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """`path` is the result's folder and `file` the LoRA in it; both are empty when a run was stopped before
    it had learned anything, and when it was paused."""

    status: Ending
    path: str
    file: str
    steps: int
    seconds: float
    final_loss: float | None


def result_file(output_dir: str, output_name: str) -> Path:
    """The path of a run's LoRA."""
    return Path(output_dir) / file_name(output_name)


def check_output(output: OutputGroup, *, resumes: bool = False) -> None:
    """Refuse an output that would replace an earlier result or can't be written. A run that `resumes` may
    replace what it left when it was stopped. Raises ConfigError."""
    folder = Path(output.output_dir)
    if not resumes and result_file(output.output_dir, output.output_name).exists():
        raise ConfigError(
            f"There is already a LoRA {output.output_name} in {folder}.",
            "Choose another name or folder, or delete that one first.",
            field="output_dir",
        )
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise ConfigError(
            f"The folder {folder} can't be written.", "Choose another output folder.", field="output_dir"
        )
