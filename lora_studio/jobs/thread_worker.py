"""Training in a thread of this process, under the device lease."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lora_studio.config import TrainConfig
from lora_studio.errors import DeviceBusy
from lora_studio.events import Command, Commands, Emit, Paused, ShouldStop, Stopped, no_commands
from lora_studio.runtime import DeviceLease
from lora_studio.training.state_files import newest_step

HOLDER = "training"


class ThreadWorker:
    """Holds the device for a whole training and lets waiting generations go first between two steps."""

    def __init__(self, lease: DeviceLease) -> None:
        self._lease = lease

    def run(
        self,
        config: TrainConfig,
        emit: Emit,
        should_stop: ShouldStop,
        *,
        resume_from: Path | None = None,
        fork: bool = False,
        commands: Commands = no_commands,
        **_: Any,
    ) -> None:
        """Returns when the training has ended, stopped or paused; a job's folder is of no use to it. Raises
        StudioError and what the libraries raise."""
        from lora_studio.trainer import train  # loads torch; the device stays free meanwhile

        told: list[Command] = []  # while waiting for the device

        def asked_between_steps() -> bool:
            self._lease.give_way(HOLDER)
            return should_stop()

        def gives_up() -> bool:
            told.extend(iter(commands, None))
            return should_stop() or "pause" in told

        def next_command() -> Command | None:
            return told.pop(0) if told else commands()

        going_on: dict[str, Any] = {"resume_from": resume_from, "fork": fork, "commands": next_command}
        try:
            with self._lease.hold(HOLDER, give_up=gives_up):
                train(config, emit, asked_between_steps, **going_on)
        except DeviceBusy:
            if not gives_up():
                raise
            step = 0 if fork else newest_step(resume_from)
            emit(Stopped(step=step) if should_stop() else Paused(step=step))
