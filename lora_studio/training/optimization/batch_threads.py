"""Threads that share the pictures of a batch: data parallelism inside one process.

With small layers most of a step goes into starting them, and two cores that work on one layer together are
hardly faster than one. With pictures of its own each core has work for the whole step.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

import torch

Part = TypeVar("Part")
Result = TypeVar("Result")
Gradients = Sequence[torch.Tensor | None]


class BatchThreads:
    """`count` threads that compute with so many `cores` each; they begin with the first work and end with
    this object."""

    def __init__(self, count: int, cores: int = 1) -> None:
        self.count, self.cores = count, cores
        self._pool: ThreadPoolExecutor | None = None

    def parts(self, batch: Sequence[Part]) -> list[Sequence[Part]]:
        """The batch in pieces for all threads, as even as can be."""
        count = max(1, min(self.count, len(batch)))
        ends = [len(batch) * number // count for number in range(count + 1)]
        return [batch[begin:end] for begin, end in itertools.pairwise(ends)]

    def each(self, work: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
        """Do `work` for all parts side by side: the results in order. Raises what one raises once all have
        ended."""
        if self._pool is None:
            self._pool = self._begin()
        futures = [self._pool.submit(work, part) for part in parts]
        wait(futures)
        return [future.result() for future in futures]

    def _begin(self) -> ThreadPoolExecutor:
        usual = torch.get_num_threads()
        pool = ThreadPoolExecutor(self.count, "batch", initializer=_take_cores, initargs=(self.cores,))
        together = threading.Barrier(self.count)
        list(pool.map(lambda _: together.wait(), range(self.count)))
        # A thread that comes later takes the number that was set last, in whichever thread that was.
        torch.set_num_threads(usual)
        return pool


def _take_cores(count: int) -> None:
    """Let this thread compute with so many cores, itself included."""
    torch.get_num_threads()  # what is asked for first, torch sets to the usual number later
    torch.set_num_threads(count)


@torch.no_grad()
def add_gradients(weights: Sequence[torch.Tensor], found: Sequence[Gradients]) -> None:
    """Add the gradients that each part found to those of the weights, in the parts' order, so that the sum is
    the same each time. None is none."""
    for weight, *gradients in zip(weights, *found, strict=True):
        for gradient in gradients:
            if gradient is None:
                continue
            if weight.grad is not None:
                weight.grad.add_(gradient)
            elif gradient.stride() == weight.stride():
                weight.grad = gradient
            else:  # torch's fused optimizers (2.13) would add each number to another weight
                weight.grad = torch.empty_like(weight).copy_(gradient)
