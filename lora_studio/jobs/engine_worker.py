"""The worker of a training, by its engine and its place. Most are never asked for, so imported late."""

from __future__ import annotations

from lora_studio.config_groups import RunGroup
from lora_studio.errors import ConfigError
from lora_studio.events import Emit, ShouldStop
from lora_studio.jobs.training_queue import Worker
from lora_studio.runtime import DeviceLease
from lora_studio.settings import Settings
from lora_studio.training_request import RunRequest

NOT_ON_ZERO_GPU = "ZeroGPU lends its GPU for a picture at a time, so this Space draws and can't train."
TRAIN_ELSEWHERE = (
    "Train on a machine of your own, or on a Space with hardware of its own (cpu-basic for the small model, "
    "t4-small and up), then import the LoRA's file in the Gallery."
)


def check_can_train(settings: Settings, worker: object = "") -> None:
    """Raise ConfigError where no training can run, but for one whose `worker` is elsewhere."""
    if settings.zero_gpu and worker != "modal":
        raise ConfigError(NOT_ON_ZERO_GPU, TRAIN_ELSEWHERE)


class EngineWorker:
    """A worker that hands each training to the worker of its engine, or of the place where it is to run:
    `in_process` is the one that trains in this process."""

    def __init__(self, in_process: Worker, settings: Settings, lease: DeviceLease) -> None:
        self._in_process, self._settings, self._lease = in_process, settings, lease

    def run(self, request: RunRequest, emit: Emit, should_stop: ShouldStop) -> None:
        """Run a training by the worker that its settings name. Raises as that worker does."""
        check_can_train(self._settings, request.config.run.worker)
        self._worker(worker_name(request.config.run)).run(request, emit, should_stop)

    def _worker(self, name: str) -> Worker:
        if name == "process":
            from lora_studio.jobs.processes import ProcessWorker

            return ProcessWorker(self._settings, self._lease)
        if name == "modal":
            from lora_studio.jobs.modal_worker import ModalWorker

            return ModalWorker(self._settings)
        if name == "sd-scripts":
            from lora_studio.jobs.sd_scripts import SdScriptsWorker

            return SdScriptsWorker(self._settings, self._lease)
        return self._in_process


def check_place(settings: RunGroup) -> None:
    """Refuse a training that has no place to run, before it waits for its turn. Raises ConfigError."""
    if settings.engine == "sd-scripts":
        return
    if settings.worker == "modal":
        from lora_studio.jobs.modal_worker import allowed_limits

        allowed_limits()
    if settings.num_processes > 1:
        from lora_studio.jobs.processes.process_worker import check_devices

        check_devices(settings.num_processes)


def worker_name(settings: RunGroup) -> str:
    """The worker that settings mean: another engine is its own, and several processes are no thread."""
    if settings.engine == "sd-scripts":
        return settings.engine
    return "process" if settings.worker == "thread" and settings.num_processes > 1 else settings.worker
