"""What both trainings share: a time box that survives restarts, moving averages, checkpoints."""

import math
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch


@dataclass
class TimeBox:
    """Counts training time only, over all restarts; the learning rate follows it."""

    minutes: float
    spent: float = 0.0
    _since: float | None = field(default=None, repr=False)

    def start(self) -> None:
        """Start, or go on, counting."""
        self._since = time.monotonic()

    def pause(self) -> None:
        """Stop counting while something other than training runs."""
        self.spent, self._since = self.seconds, None

    @property
    def seconds(self) -> float:
        return self.spent + (0.0 if self._since is None else time.monotonic() - self._since)

    @property
    def fraction(self) -> float:
        return min(1.0, self.seconds / (60 * self.minutes))

    @property
    def is_over(self) -> bool:
        return self.fraction >= 1.0


def cosine_rate(peak: float, step: int, fraction: float, warm_up: int) -> float:
    """Linear warm-up in steps, then a cosine over the time box down to a thousandth of the peak."""
    return peak * min(1.0, (step + 1) / warm_up) * max(1e-3, 0.5 + 0.5 * math.cos(math.pi * fraction))


class MovingAverage:
    """Exponential moving average of parameters; its window grows from a few steps to the full one."""

    def __init__(self, parameters: Iterable[torch.nn.Parameter], decay: float) -> None:
        self.parameters = list(parameters)
        self.decay = decay
        self.values = [parameter.detach().clone() for parameter in self.parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the parameters as they are after ``step`` (counted from 0)."""
        decay = min(self.decay, (1 + step) / (30 + step))
        torch._foreach_lerp_(self.values, [parameter.data for parameter in self.parameters], 1 - decay)

    def swap(self) -> None:
        """Exchange the averages with the live parameters; call again to undo."""
        for index, parameter in enumerate(self.parameters):
            self.values[index], parameter.data = parameter.data, self.values[index]


def save_atomically(state: dict, path: Path) -> None:
    """Write beside the target, then swap: a run killed in between leaves the old checkpoint whole."""
    part = path.with_name(path.name + ".part")
    torch.save(state, part)
    os.replace(part, path)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every parameter group the same learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def pick_device(name: str) -> torch.device:
    """``cpu`` or ``cuda``; on the CPU the number of threads follows OMP_NUM_THREADS."""
    if name == "cpu":
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    return torch.device(name)
