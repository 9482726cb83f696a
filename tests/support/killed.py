"""A training in a process of its own, which somebody else may kill."""

from __future__ import annotations

import os
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from lora_studio.config import TrainConfig
from lora_studio.events import Event, StepDone
from lora_studio.lora.run_states import state_files, state_folder
from lora_studio.trainer import train


def run(values: dict[str, Any], steps: Connection) -> None:
    """Train, from the newest state if there is one, and tell each step."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    config = TrainConfig.from_values(values)
    states: Path = state_folder(config.output.output_dir)

    def emit(event: Event) -> None:
        if isinstance(event, StepDone):
            steps.send(event.step)

    train(config, emit, resume_from=states if state_files(states) else None)
