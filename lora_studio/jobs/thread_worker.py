"""Training in a thread of this process, under the device lease."""

from __future__ import annotations

from lora_studio.config import TrainConfig
from lora_studio.errors import DeviceBusy
from lora_studio.events import Emit, ShouldStop, Stopped
from lora_studio.runtime import DeviceLease

HOLDER = "training"


class ThreadWorker:
    """Holds the device for a whole training and lets waiting generations go first between two steps."""

    def __init__(self, lease: DeviceLease) -> None:
        self._lease = lease

    def run(self, config: TrainConfig, emit: Emit, should_stop: ShouldStop) -> None:
        """Returns when the training has ended or stopped. Raises StudioError and what the libraries raise."""
        from lora_studio.trainer import train  # loads torch; the device stays free meanwhile

        def asked_between_steps() -> bool:
            self._lease.give_way(HOLDER)
            return should_stop()

        try:
            with self._lease.hold(HOLDER, give_up=should_stop):
                train(config, emit, asked_between_steps)
        except DeviceBusy:
            if not should_stop():
                raise
            emit(Stopped(step=0))
