"""The beginning of a run: anew, at a saved state of its own, or with the weights of another run's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import torch

from lora_studio.config import TrainConfig
from lora_studio.errors import ConfigError
from lora_studio.events import PreviewSaved, StepDone
from lora_studio.training.loop import Loop
from lora_studio.training.model import Engine
from lora_studio.training.out_of_memory import Fallbacks
from lora_studio.training.preparation.training_data import TrainingData
from lora_studio.training.resuming.compatibility import (
    base_mark,
    check_base,
    check_pictures,
    check_settings,
    picture_facts,
)
from lora_studio.training.train_state import State, config_of, random_states, read_newest, set_random_states

LIBRARIES = ("torch", "diffusers", "transformers", "peft")


@dataclass(frozen=True, kw_only=True)
class RunMarks:
    """Marks by which a run is known again. `versions` and `device` may change: the numbers then differ in
    their last digits."""

    pictures: tuple[Mapping[str, str], ...]
    base: str
    device: str
    versions: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class StartPoint:
    """`state` is None for a run that begins at its beginning; `notes` tell of damaged files passed over."""

    state: State | None = None
    fork: bool = False
    notes: tuple[str, ...] = ()

    @property
    def resumed(self) -> State | None:
        """The state that the run goes on from as if it had never ended."""
        return None if self.fork else self.state

    @property
    def step(self) -> int:
        return self.resumed.point.step if self.resumed else 0

    @property
    def seconds(self) -> float:
        return self.resumed.seconds if self.resumed else 0.0

    @property
    def previews(self) -> tuple[PreviewSaved, ...]:
        return self.resumed.previews if self.resumed else ()

    def check_settings(self, config: TrainConfig) -> None:
        """Refuse settings that are not those of the state. Raises ConfigError."""
        if self.resumed:
            check_settings(config_of(self.resumed), config, self.step)

    def check_facts(self, facts: RunMarks) -> list[str]:
        """Sentences on what may change the last digits. Raises DatasetError, ModelFileError when pictures or
        base are others."""
        if not self.resumed:
            return []
        check_pictures(self.resumed.pictures, facts.pictures, self.step)
        check_base(self.resumed.base, facts.base, self.step)
        others = [
            name for name, is_now in facts.versions.items() if self.resumed.versions.get(name) != is_now
        ]
        changed = [*others, *(["the device"] if self.resumed.device != facts.device else [])]
        if not changed:
            return []
        remark = f"Since the state of step {self.step} was saved, {', '.join(changed)} changed"
        return [f"{remark}: the result can differ from the uninterrupted run's in its last digits."]

    def begin(self, loop: Loop, fallbacks: Fallbacks) -> StepDone | None:
        """Put the loop where the run begins; returns the last step done before. Raises ConfigError when the
        weights of a fork don't fit."""
        if self.state is None:
            return None
        point = self.state.point
        if self.fork:
            _take_weights(loop, point.lora)
            return None
        fallbacks.climb_again(point.rungs, point.at_once)
        loop.go_to(point)
        set_random_states(self.state.random)
        last = self.state.last
        return replace(last, total_steps=loop.total) if last else None

    def state_of(self, loop: Loop, config: TrainConfig, facts: RunMarks) -> State:
        """All that is known now, for a state file; previews and times are added by the caller."""
        return State(
            point=loop.point(),
            config=config.to_json(),
            pictures=facts.pictures,
            base=facts.base,
            device=facts.device,
            versions=facts.versions,
            random=random_states(),
        )


def find_start_point(place: Path | None, *, fork: bool) -> StartPoint:
    """Reads the newest whole state of a folder, or one state file. Raises ModelFileError and its kin."""
    if place is None:
        return StartPoint()
    state, notes = read_newest(Path(place))
    if fork:
        remark = f"The run begins with the weights that another one had at step {state.point.step}."
        notes = [*notes, f"{remark} Its own steps count from 1."]
    return StartPoint(state=state, fork=fork, notes=tuple(notes))


def facts_of_run(engine: Engine, data: TrainingData) -> RunMarks:
    """The marks of a run. Raises DatasetError for a picture that can't be read."""
    return RunMarks(
        pictures=picture_facts(data.loader.pictures),
        base=base_mark(engine),
        device=engine.device.title,
        versions={name: version(name) for name in LIBRARIES},
    )


def _take_weights(loop: Loop, weights: Mapping[str, torch.Tensor]) -> None:
    weights_now = loop.engine.lora.state()
    if {name: weight.shape for name, weight in weights_now.items()} != {
        n: w.shape for n, w in weights.items()
    }:
        raise ConfigError(
            "The weights of that state belong to a network of another kind or size.",
            "Keep network_dim and the other settings of the network as they were.",
            field="network_dim",
        )
    loop.engine.lora.load_state(weights)
