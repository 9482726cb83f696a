"""Which worker runs a training: the one that its engine names."""

from __future__ import annotations

from lora_studio.events import Emit, ShouldStop
from lora_studio.jobs.sd_scripts import SdScriptsWorker
from lora_studio.jobs.training_queue import Worker
from lora_studio.runtime import DeviceLease
from lora_studio.settings import Settings
from lora_studio.training_request import RunRequest


class EngineWorker:
    """Hands each training to the worker of its engine: `own` is the one that trains in this process."""

    def __init__(self, own: Worker, settings: Settings, lease: DeviceLease) -> None:
        self._by_engine: dict[str, Worker] = {
            "lora-studio": own,
            "sd-scripts": SdScriptsWorker(settings, lease),
        }

    def run(self, request: RunRequest, emit: Emit, should_stop: ShouldStop) -> None:
        """As the engine's own worker."""
        self._by_engine[request.config.run.engine].run(request, emit, should_stop)
