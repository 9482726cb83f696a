"""The request of a training, and the request for the worker that runs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lora_studio.config import Kind, TrainConfig
from lora_studio.events import Commands, no_commands


@dataclass(frozen=True, kw_only=True)
class StartTraining:
    """A training in a person's words: a kind, and a name; the presets know the rest. `dataset_id` names an
    uploaded set; an empty `trigger` is made from the name; `overrides` are settings of TrainConfig by their
    leaf names."""

    name: str
    kind: Kind
    dataset_id: str = ""
    trigger: str = ""
    base: str = "starter"
    overrides: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """One run of a training. `folder` is the job's own. `resume_from` is a state file or a folder of them
    where the run goes on; with `fork` it is a new run that only begins with the weights of that state.
    `commands` is asked once a step."""

    config: TrainConfig
    folder: Path | None = None
    resume_from: Path | None = None
    fork: bool = False
    commands: Commands = no_commands
