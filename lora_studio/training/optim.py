"""The optimizer and how its learning rate moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from diffusers.optimization import get_scheduler
from torch.optim.lr_scheduler import LRScheduler

from lora_studio.config_groups import OptimizerGroup


def build_optimizer(
    settings: OptimizerGroup, weights: Mapping[str, Sequence[torch.nn.Parameter]], rates: Mapping[str, float]
) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019) with a group for each trained part, in the order of `rates`."""
    groups = [{"params": list(weights[part]), "lr": rate} for part, rate in rates.items()]
    return torch.optim.AdamW(groups, weight_decay=settings.weight_decay, fused=True)


def build_schedule(settings: OptimizerGroup, optimizer: torch.optim.Optimizer) -> LRScheduler:
    """transformers' schedules, as in Kohya's trainer: one move for each optimizer step; warm-up begins at
    0."""
    return get_scheduler(
        settings.lr_scheduler,
        optimizer,
        num_warmup_steps=settings.lr_warmup_steps,
        num_training_steps=settings.max_train_steps,
    )


def describe(optimizer: torch.optim.Optimizer, settings: OptimizerGroup) -> str:
    """As Kohya's trainer writes it into the file: class path and arguments."""
    kind = type(optimizer)
    return f"{kind.__module__}.{kind.__name__}(weight_decay={settings.weight_decay})"
