"""Which pictures each step sees: batches within buckets, in an order that follows from seed and epoch
alone."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lora_studio.data.buckets import Size
from lora_studio.data.cache import PlacedPicture
from lora_studio.data.seeds import seed_of


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One showing of a picture: the `repeat`-th of the epoch."""

    placed: PlacedPicture
    epoch: int
    repeat: int


Batch = tuple[Sample, ...]


@dataclass(frozen=True, kw_only=True)
class Steps:
    """Kohya's step arithmetic: batches end at bucket borders, accumulation at the end of an epoch."""

    batches_per_epoch: int
    updates_per_epoch: int
    epochs: int


def count_steps(counts: Sequence[int], *, batch_size: int, accumulate: int, max_train_steps: int) -> Steps:
    """`counts` holds the samples of each bucket, with repeats."""
    batches = sum(math.ceil(count / batch_size) for count in counts)
    updates = math.ceil(batches / accumulate)
    return Steps(
        batches_per_epoch=batches, updates_per_epoch=updates, epochs=math.ceil(max_train_steps / updates)
    )


@dataclass(frozen=True, kw_only=True)
class Loader:
    """The order of a run. `batch_size` x `accumulate` pictures make a step."""

    pictures: tuple[PlacedPicture, ...]
    batch_size: int
    accumulate: int
    seed: int

    def buckets(self) -> Mapping[Size, list[PlacedPicture]]:
        """Pictures by bucket, buckets sorted by size."""
        found: dict[Size, list[PlacedPicture]] = {}
        for placed in self.pictures:
            found.setdefault(placed.placement.bucket, []).append(placed)
        return dict(sorted(found.items()))

    def counts(self) -> dict[Size, int]:
        """Samples of each bucket in one epoch."""
        return {size: sum(p.picture.repeats for p in placed) for size, placed in self.buckets().items()}

    def steps(self, max_train_steps: int) -> Steps:
        return count_steps(
            list(self.counts().values()),
            batch_size=self.batch_size,
            accumulate=self.accumulate,
            max_train_steps=max_train_steps,
        )

    def epoch(self, epoch: int) -> Iterator[tuple[Batch, ...]]:
        """The steps of one epoch (1-based), each a group of batches. The last may have fewer."""
        batches = self._batches(epoch)
        for start in range(0, len(batches), self.accumulate):
            yield tuple(batches[start : start + self.accumulate])

    def _batches(self, epoch: int) -> list[Batch]:
        """Shuffled in groups of a whole step's pictures, so that 2 batches of 1 see what 1 batch of 2
        sees."""
        order = random.Random(seed_of(self.seed, "order", epoch))
        groups: list[list[Sample]] = []
        for placed in self.buckets().values():
            samples = [
                Sample(placed=one, epoch=epoch, repeat=repeat)
                for one in placed
                for repeat in range(one.picture.repeats)
            ]
            order.shuffle(samples)
            groups += _chunks(samples, self.batch_size * self.accumulate)
        order.shuffle(groups)
        return [tuple(batch) for group in groups for batch in _chunks(group, self.batch_size)]


def _chunks(samples: list[Sample], size: int) -> list[list[Sample]]:
    return [samples[start : start + size] for start in range(0, len(samples), size)]
