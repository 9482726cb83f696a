"""The worker that trains in a thread of this process, under the device lease."""

from __future__ import annotations

from lora_studio.events import Commands, Emit, ShouldStop
from lora_studio.jobs.device_turn import HOLDER, with_device
from lora_studio.runtime import DeviceLease
from lora_studio.training_request import RunRequest


class ThreadWorker:
    """A worker that holds the device for a whole training, but between steps for waiting generations."""

    def __init__(self, lease: DeviceLease) -> None:
        self._lease = lease

    def run(self, request: RunRequest, emit: Emit, should_stop: ShouldStop) -> None:
        """Train until the end, a stop or a pause. Raises StudioError and whatever the libraries raise."""

        def asked_between_steps() -> bool:
            self._lease.give_way(HOLDER)
            return should_stop()

        def work(commands: Commands) -> None:
            # Loads torch, with the device: a generation that began to load the libraries at the same moment
            # found them half there (transformers 5: "cannot import name 'AutoModel'").
            from lora_studio.trainer import train

            train(
                request.config,
                emit,
                asked_between_steps,
                resume_from=request.resume_from,
                fork=request.fork,
                commands=commands,
            )

        with_device(self._lease, request, emit, should_stop, work)
