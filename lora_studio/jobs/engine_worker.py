"""The worker of a training: the one that its engine names."""

from __future__ import annotations

from lora_studio.events import Emit, ShouldStop
from lora_studio.jobs.sd_scripts import SdScriptsWorker
from lora_studio.jobs.training_queue import Worker
from lora_studio.runtime import DeviceLease
from lora_studio.settings import Settings
from lora_studio.training_request import RunRequest


class EngineWorker:
    """A worker that hands each training to the worker of its engine: `in_process` is the one that trains in
    this process."""

    def __init__(self, in_process: Worker, settings: Settings, lease: DeviceLease) -> None:
        self._by_engine: dict[str, Worker] = {
            "lora-studio": in_process,
            "sd-scripts": SdScriptsWorker(settings, lease),
        }

    def run(self, request: RunRequest, emit: Emit, should_stop: ShouldStop) -> None:
        """Run a training by its engine's worker. Raises as that worker does."""
        self._by_engine[request.config.run.engine].run(request, emit, should_stop)
