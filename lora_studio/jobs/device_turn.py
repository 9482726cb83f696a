"""A training's turn at the device: how it waits for it, and what ends the waiting."""

from __future__ import annotations

from collections.abc import Callable

from lora_studio.errors import DeviceBusy
from lora_studio.events import Command, Commands, Emit, Paused, ShouldStop, Stopped
from lora_studio.lora.run_states import newest_step
from lora_studio.runtime import DeviceLease
from lora_studio.training_request import RunRequest

HOLDER = "training"


def with_device(
    lease: DeviceLease,
    request: RunRequest,
    emit: Emit,
    should_stop: ShouldStop,
    work: Callable[[Commands], None],
) -> None:
    """Do `work` while the training holds the device; it is given the request's commands, those first that
    came while it waited. A stop or a pause before the device is free ends the run there. Raises what `work`
    raises."""
    early_commands: list[Command] = []

    def gives_up() -> bool:
        early_commands.extend(iter(request.commands, None))
        return should_stop() or "pause" in early_commands

    def next_command() -> Command | None:
        return early_commands.pop(0) if early_commands else request.commands()

    try:
        with lease.hold(HOLDER, give_up=gives_up):
            work(next_command)
    except DeviceBusy:
        if not gives_up():
            raise
        step = 0 if request.fork else newest_step(request.resume_from)
        emit(Stopped(step=step) if should_stop() else Paused(step=step))
