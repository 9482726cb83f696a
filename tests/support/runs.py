"""Whole runs of the trainer, and what they said."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch.optim.lr_scheduler import LRScheduler

from lora_studio.config import TrainConfig
from lora_studio.data.training_set.folders import read_folder
from lora_studio.events import Command, Event, Noted, Paused, StepDone, ignore, never_stop
from lora_studio.families.base_files.locate import find_base
from lora_studio.lora.file.lora_files import find_file, read_header
from lora_studio.lora.run_states import state_folder
from lora_studio.runtime import find_device
from lora_studio.trainer import TrainResult, train
from lora_studio.training.loop import Loop
from lora_studio.training.model import Engine, load_engine
from lora_studio.training.preparation.training_data import TrainingData, prepare_data


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


def run_steps(
    engine: Engine, data: TrainingData, optimizer: torch.optim.Optimizer, schedule: LRScheduler
) -> Iterator[StepDone]:
    """Train without guard or state, yielding after each optimizer step."""
    loop = Loop(engine=engine, data=data, optimizer=optimizer, schedule=schedule)
    engine.train_mode(True)
    while loop.step < loop.total:
        yield loop.advance()


def state_folder_of(config: TrainConfig) -> Path:
    return state_folder(config.output.output_dir)


ALL_ON = {
    "network_dropout": 0.3,
    "shuffle_caption": True,
    "caption_dropout_rate": 0.3,
    "flip_aug": True,
    "gradient_accumulation_steps": 2,
    "train_batch_size": 1,
    "lr_scheduler": "cosine",
    "noise_offset": 0.05,
}


def paused_at(config: TrainConfig, step: int, **how: object) -> list[Event]:
    """Train until that step and pause there."""
    events: list[Event] = []

    def commands() -> Command | None:
        return "pause" if any(event.step == step for event in of(StepDone, events)) else None

    result = train(config, events.append, commands=once(commands), **how)  # type: ignore[arg-type]
    assert (result.status, result.steps, result.file) == ("paused", step, "")
    assert events[-1] == Paused(step=step)
    return events


def once(commands):  # type: ignore[no-untyped-def]
    given: list[str] = []

    def ask() -> Command | None:
        command = None if given else commands()
        given.extend([command] if command else [])
        return command

    return ask


def run_until(
    config: TrainConfig, should_stop: Callable[[list[Event]], bool] = lambda _: False
) -> tuple[TrainResult, list[Event]]:
    events: list[Event] = []
    return train(config, events.append, lambda: should_stop(events)), events


def trained_tensors(config: TrainConfig) -> dict[str, torch.Tensor]:
    return load_file(train(config).file)


def tensors_of(config: TrainConfig) -> dict[str, torch.Tensor]:
    return load_file(find_file(Path(config.output.output_dir)))


def assert_same_tensors(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for key, tensor in one.items():
        assert torch.equal(tensor, other[key]), key


def engine_for(config: TrainConfig) -> Engine:
    found = find_base(config.model.pretrained_model_name_or_path)
    return load_engine(config, found, find_device(), torch.float32)


def data_for(engine: Engine) -> TrainingData:
    data = prepare_data(engine, read_folder(engine.config.dataset), ignore, never_stop)
    assert data is not None
    return data
