"""Which worker runs a training: the one that its engine names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from lora_studio.config import TrainConfig
from lora_studio.events import Emit, ShouldStop
from lora_studio.jobs.sd_scripts import SdScriptsWorker
from lora_studio.runtime import DeviceLease
from lora_studio.settings import Settings


class Runner(Protocol):
    """A worker, whatever its `run` takes besides."""

    @property
    def run(self) -> Callable[..., None]: ...


class EngineWorker:
    """Hands each training to the worker of its engine: `own` is the one that trains in this process."""

    def __init__(self, own: Runner, settings: Settings, lease: DeviceLease) -> None:
        self._by_engine: dict[str, Runner] = {
            "lora-studio": own,
            "sd-scripts": SdScriptsWorker(settings, lease),
        }

    def run(self, config: TrainConfig, emit: Emit, should_stop: ShouldStop, **more: Any) -> None:
        """As the engine's own worker; `more` is what the queue hands on to it."""
        self._by_engine[config.run.engine].run(config, emit, should_stop, **more)
