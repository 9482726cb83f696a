"""The base model as it is without the LoRA, for comparisons in the middle of a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from lora_studio.training.model import Engine


@contextmanager
def at_rest(engine: Engine) -> Iterator[None]:
    """No gradients, no dropout, no gradient checkpointing inside the block."""
    engine.train_mode(False)
    try:
        with torch.no_grad():
            yield
    finally:
        engine.train_mode(True)


@contextmanager
def base_alone(engine: Engine) -> Iterator[None]:
    """The LoRA is passed by inside the block."""
    with engine.lora.left_out():
        yield
