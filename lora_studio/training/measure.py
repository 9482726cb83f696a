"""Measures what a training will take. No torch in here: it is loaded when something is measured."""

from __future__ import annotations

from lora_studio.config import TrainConfig
from lora_studio.estimate import TrainingEstimate
from lora_studio.events import Emit, ShouldStop, ignore, never_stop


def measure(
    config: TrainConfig, emit: Emit = ignore, should_stop: ShouldStop = never_stop
) -> TrainingEstimate | None:
    """Load the base, train a few steps on the largest pictures, draw a little, and throw it all away; nothing
    is written. None when stopped. Whoever shares the device holds its lease. Raises ConfigError,
    DatasetError, ModelFileError and its kin, OutOfMemory."""
    from lora_studio.training.dry_run import dry_run  # loads torch

    return dry_run(config, emit, should_stop)
