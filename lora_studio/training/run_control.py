"""The wires between the engine and whoever started a run: the orders to it and the events from it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from lora_studio.config import TrainConfig
from lora_studio.errors import DiskFull
from lora_studio.events import Command, Commands, Emit, ShouldStop, StepDone
from lora_studio.training.optimization.process_ranks import ALONE, Ranks
from lora_studio.training.resuming.start_point import StartPoint


@dataclass(kw_only=True)
class RunControl:
    """A stop signal, once given, holds; so does a pause. `wishes` are the commands not yet fulfilled, `last`
    the last good step, `full` why the run pauses by itself: there is no room on the disk. Only rank 0 of
    several processes is given signals and commands."""

    config: TrainConfig
    emit: Emit
    should_stop: ShouldStop
    commands: Commands
    origin: StartPoint
    ranks: Ranks = ALONE
    begun: float = field(default_factory=time.perf_counter)
    stopping: bool = False
    wishes: set[Command] = field(default_factory=set)
    last: StepDone | None = None
    full: DiskFull | None = None

    def stop(self) -> bool:
        """Whether to end now, for good or for a pause."""
        while command := self.commands():
            self.wishes.add(command)
        self.stopping = self.should_stop() or self.stopping
        return self.stopping or self.full is not None or "pause" in self.wishes

    def all_stop(self) -> bool:
        """`stop` of rank 0 for all ranks, each of which has to ask at the same place."""
        return bool(self.ranks.agreed(int(self.stop())))

    @property
    def step(self) -> int:
        return self.last.step if self.last else self.origin.step

    @property
    def seconds(self) -> float:
        """Spent on the run so far, in all its parts."""
        return self.origin.seconds + time.perf_counter() - self.begun
