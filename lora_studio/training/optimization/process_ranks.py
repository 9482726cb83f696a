"""The processes that train one LoRA together. Each computes its share of every step's batches; gradients and
losses are summed, so that all make the same step. Rank 0 alone hears commands, saves, draws and speaks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import distributed

from lora_studio.errors import OutOfMemory
from lora_studio.runtime import memory_errors

T = TypeVar("T")
LESS_MEMORY = "Lower resolution or train_batch_size, or switch gradient_checkpointing on."


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """The `rank` of this process, of `count`. With a count above 1 torch's default process group has to
    exist, with a backend for the CPU and one for the device of the weights."""

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """Take this rank's share: the items are dealt in turn, from rank 0 on."""
        return items[self.rank :: self.count]

    def agreed(self, number: int) -> int:
        """Rank 0's number. Every rank has to ask at the same place; the others wait for rank 0 meanwhile."""
        return self._exchanged(number, lambda numbers: distributed.broadcast(numbers, src=0))

    def highest(self, number: int) -> int:
        """The highest of all ranks' numbers."""
        most = distributed.ReduceOp.MAX
        return self._exchanged(number, lambda numbers: distributed.all_reduce(numbers, most))

    def _exchanged(self, number: int, exchange: Callable[[torch.Tensor], object]) -> int:
        if self.count == 1:
            return number
        numbers = torch.tensor([number])
        exchange(numbers)
        return int(numbers.item())

    @contextlib.contextmanager
    def failing_together(self) -> Iterator[None]:
        """Raise OutOfMemory in every rank when the block runs out of memory in one, so that all take the same
        measure against it."""
        if self.count == 1:
            yield
            return
        failure = None
        try:
            with memory_errors("training", LESS_MEMORY):
                yield
        except OutOfMemory as error:
            failure = error
        if self.highest(int(failure is not None)):
            raise failure or OutOfMemory("The memory of another process was not enough.", LESS_MEMORY)

    @torch.no_grad()
    def spread(self, weights: Sequence[torch.Tensor]) -> None:
        """Give all ranks rank 0's weights."""
        if self.count > 1:
            for weight in weights:
                distributed.broadcast(weight.data, src=0)

    @torch.no_grad()
    def sum_gradients(self, weights: Sequence[torch.Tensor]) -> None:
        """Replace each weight's gradient by the sum over all ranks, in one transfer. A gradient that no rank
        has stays None: an optimizer would take zeros for a reason to decay the weight."""
        if self.count == 1:
            return
        with self.failing_together():
            parts = [torch.zeros_like(one) if one.grad is None else one.grad for one in weights]
            present = torch.tensor([float(one.grad is not None) for one in weights], device=parts[0].device)
            flat = torch.cat([*(part.reshape(-1).float() for part in parts), present])
        distributed.all_reduce(flat)
        sums = flat[: -len(parts)].split([part.numel() for part in parts])
        for weight, total, owners in zip(weights, sums, flat[-len(parts) :].tolist(), strict=True):
            weight.grad = total.view_as(weight).to(weight.dtype) if owners else None

    def summed(self, loss: float) -> float:
        """The sum of all ranks' losses."""
        if self.count == 1:
            return loss
        whole = torch.tensor([loss], dtype=torch.float64)
        distributed.all_reduce(whole)
        return float(whole.item())


ALONE = Ranks()
"""The one process of a training that has no others."""
