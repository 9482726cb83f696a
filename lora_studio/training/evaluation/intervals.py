"""The steps at which a run saves, draws and validates. Without wishes all three fall together, eight times a
run: what a checkpoint is worth is seen on pictures of that very step."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lora_studio.config import TrainConfig

TIMES = 8
MOST_PREVIEWS = 10


def even_steps(total: int, times: int = TIMES) -> frozenset[int]:
    """`times` steps spread evenly over `total`, the last one included; all of them in a shorter run."""
    return frozenset(max(1, round(total * part / times)) for part in range(1, times + 1))


def even_interval(total: int, times: int = TIMES) -> int:
    """Steps from one time to the next for a program that counts in equal steps: as near to `times` as can
    be."""
    around = {max(1, total // times), max(1, math.ceil(total / times))}
    return min(sorted(around), key=lambda every: abs(total // every - times))


def spread(steps: Sequence[int], times: int) -> frozenset[int]:
    """`times` of these steps, evenly, the last one included."""
    return frozenset(steps[round(len(steps) * part / times) - 1] for part in range(1, times + 1))


def checkpoint_steps(config: TrainConfig) -> frozenset[int]:
    """The steps after which a checkpoint is written, without the last one, which is the result itself."""
    total, every = config.optimizer.max_train_steps, config.output.save_every_n_steps
    if every is None:
        return even_steps(total) - {total}
    return frozenset(range(every, total, every)) if every else frozenset()


def preview_steps(config: TrainConfig) -> frozenset[int]:
    """The steps after which previews are drawn: without a wish at the checkpoints, of very many at ten."""
    total, every = config.optimizer.max_train_steps, config.preview.sample_every_n_steps
    if every is not None:
        return frozenset(range(every, total + 1, every)) if every else frozenset()
    saved = sorted(checkpoint_steps(config) | {total})
    if len(saved) == 1:
        return even_steps(total)
    if len(saved) <= MOST_PREVIEWS:
        return frozenset(saved)
    return spread(saved, MOST_PREVIEWS)


def validation_steps(config: TrainConfig) -> frozenset[int]:
    """The steps after which the held-out pictures are measured, the last one always; step 0, the base by
    itself, comes on top."""
    total, every = config.optimizer.max_train_steps, config.preview.validate_every_n_steps
    if every is not None:
        return frozenset(range(every, total + 1, every)) | {total}
    saved = checkpoint_steps(config) | {total}
    return saved if len(saved) > 1 else even_steps(total)
