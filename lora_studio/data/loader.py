"""Batches of each step: pictures within buckets, in an order that follows from seed and epoch alone."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from lora_studio.config_groups import DatasetGroup
from lora_studio.data.augment import changes_at_use, face_in_name, varied_colour, varied_placement
from lora_studio.data.buckets import Size
from lora_studio.data.latent_cache import PlacedPicture
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
    """Kohya's step arithmetic: batches end at bucket borders, accumulation at the end of an epoch;
    `batches_per_epoch` are those of each process."""

    batches_per_epoch: int
    updates_per_epoch: int
    epochs: int


def count_steps(
    counts: Sequence[int], *, batch_size: int, accumulate: int, max_train_steps: int, processes: int = 1
) -> Steps:
    """The steps of a run from `counts`, the samples of each bucket, with repeats."""
    batches = sum(math.ceil(count / batch_size) for count in counts)
    return _steps(batches, accumulate, processes, max_train_steps)


def _steps(batches: int, accumulate: int, processes: int, max_train_steps: int) -> Steps:
    updates = math.ceil(batches / (accumulate * processes))
    return Steps(
        batches_per_epoch=math.ceil(batches / processes),
        updates_per_epoch=updates,
        epochs=math.ceil(max_train_steps / updates),
    )


class Bucket(NamedTuple):
    """The pictures of one dataset that share a size, and so may share a batch."""

    dataset: int
    size: Size


@dataclass(frozen=True, kw_only=True)
class Loader:
    """The order of a run. `batch_size` x `accumulate` x `processes` pictures make a step; `batch_sizes` are
    those of the datasets, by number, where they differ."""

    pictures: tuple[PlacedPicture, ...]
    batch_size: int
    accumulate: int
    seed: int
    batch_sizes: tuple[int, ...] = ()
    processes: int = 1

    def buckets(self) -> Mapping[Bucket, list[PlacedPicture]]:
        """Pictures by dataset and size, sorted."""
        found: dict[Bucket, list[PlacedPicture]] = {}
        for placed in self.pictures:
            bucket = Bucket(dataset=placed.picture.dataset, size=placed.placement.bucket)
            found.setdefault(bucket, []).append(placed)
        return dict(sorted(found.items()))

    def counts(self, dataset: int | None = None) -> dict[Size, int]:
        """Samples of each size in one epoch, of all datasets or of one."""
        found: dict[Size, int] = {}
        for bucket, pictures in self.buckets().items():
            if dataset is None or bucket.dataset == dataset:
                samples = sum(placed.picture.repeats for placed in pictures)
                found[bucket.size] = found.get(bucket.size, 0) + samples
        return dict(sorted(found.items()))

    def batch_size_of(self, dataset: int) -> int:
        return self.batch_sizes[dataset] if dataset < len(self.batch_sizes) else self.batch_size

    def steps(self, max_train_steps: int) -> Steps:
        batches = sum(
            math.ceil(sum(placed.picture.repeats for placed in pictures) / self.batch_size_of(bucket.dataset))
            for bucket, pictures in self.buckets().items()
        )
        return _steps(batches, self.accumulate, self.processes, max_train_steps)

    def epoch(self, epoch: int) -> Iterator[tuple[Batch, ...]]:
        """The steps of an epoch (1-based): groups of batches of all processes; the last may have fewer."""
        batches, at_once = self._batches(epoch), self.accumulate * self.processes
        for start in range(0, len(batches), at_once):
            yield tuple(batches[start : start + at_once])

    def _batches(self, epoch: int) -> list[Batch]:
        """An epoch's batches, shuffled in groups of a step's pictures: 2 batches of 1 see those of 1 of 2."""
        order = random.Random(seed_of(self.seed, "order", epoch))
        groups: list[list[Batch]] = []
        for bucket, pictures in self.buckets().items():
            size = self.batch_size_of(bucket.dataset)
            samples = [
                self._sample(placed, epoch, repeat)
                for placed in pictures
                for repeat in range(placed.picture.repeats)
            ]
            order.shuffle(samples)
            groups += [
                [tuple(batch) for batch in _chunks(group, size)]
                for group in _chunks(samples, size * self.accumulate * self.processes)
            ]
        order.shuffle(groups)
        return [batch for group in groups for batch in group]

    def _sample(self, placed: PlacedPicture, epoch: int, repeat: int) -> Sample:
        settings = placed.picture.settings
        if changes_at_use(settings):
            placed = self._varied(placed, settings, (epoch, placed.index, repeat))
        return Sample(placed=placed, epoch=epoch, repeat=repeat)

    def _varied(
        self, placed: PlacedPicture, settings: DatasetGroup, use: tuple[int, int, int]
    ) -> PlacedPicture:
        placement = varied_placement(
            placed.placement, settings, face_in_name(placed.picture.path), seed_of(self.seed, "cut", *use)
        )
        colour = varied_colour(seed_of(self.seed, "colour", *use)) if settings.color_aug else None
        return replace(placed, placement=placement, colour=colour)


def _chunks(samples: list[Sample], size: int) -> list[list[Sample]]:
    return [samples[start : start + size] for start in range(0, len(samples), size)]
