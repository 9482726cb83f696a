"""Whole runs of the trainer, and what they said."""

from __future__ import annotations

from pathlib import Path

from lora_studio.config import TrainConfig
from lora_studio.events import Event, Noted
from lora_studio.lora.files import find_file, read_header
from lora_studio.trainer import TrainResult, train
from lora_studio.training.state_files import state_folder


def run(config: TrainConfig, **how: object) -> tuple[TrainResult, list[Event]]:
    events: list[Event] = []
    return train(config, events.append, **how), events  # type: ignore[arg-type]


def of(kind: type, events: list[Event]) -> list:
    return [event for event in events if isinstance(event, kind)]


def warnings(events: list[Event]) -> list[str]:
    return [event.message for event in of(Noted, events) if event.level == "warning"]


def tensor_hash(result: TrainResult | TrainConfig) -> str:
    folder = result.path if isinstance(result, TrainResult) else result.output.output_dir
    return read_header(find_file(Path(folder))).tensor_hash


def state_folder_of(config: TrainConfig) -> Path:
    return state_folder(config.output.output_dir)
