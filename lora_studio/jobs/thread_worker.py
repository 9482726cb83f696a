"""The worker that trains in a thread of this process, under the device lease."""

from __future__ import annotations

from lora_studio.errors import DeviceBusy
from lora_studio.events import Command, Emit, Paused, ShouldStop, Stopped
from lora_studio.lora.run_states import newest_step
from lora_studio.runtime import DeviceLease
from lora_studio.training_request import RunRequest

HOLDER = "training"


class ThreadWorker:
    """A worker that holds the device for a whole training and lets waiting generations go first between two
    steps."""

    def __init__(self, lease: DeviceLease) -> None:
        self._lease = lease

    def run(self, request: RunRequest, emit: Emit, should_stop: ShouldStop) -> None:
        """Train until the end, a stop or a pause. Raises StudioError and whatever the libraries raise."""
        from lora_studio.trainer import train  # loads torch; the device stays free meanwhile

        early_commands: list[Command] = []  # while waiting for the device

        def asked_between_steps() -> bool:
            self._lease.give_way(HOLDER)
            return should_stop()

        def gives_up() -> bool:
            early_commands.extend(iter(request.commands, None))
            return should_stop() or "pause" in early_commands

        def next_command() -> Command | None:
            return early_commands.pop(0) if early_commands else request.commands()

        try:
            with self._lease.hold(HOLDER, give_up=gives_up):
                train(
                    request.config,
                    emit,
                    asked_between_steps,
                    resume_from=request.resume_from,
                    fork=request.fork,
                    commands=next_command,
                )
        except DeviceBusy:
            if not gives_up():
                raise
            step = 0 if request.fork else newest_step(request.resume_from)
            emit(Stopped(step=step) if should_stop() else Paused(step=step))
