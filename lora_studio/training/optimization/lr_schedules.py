"""Schedules of the learning rate: one move for each optimizer step, and warm-up begins at 0. The functions
are those of transformers, as in Kohya's trainer; piecewise_constant is diffusers'."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from diffusers.optimization import get_piecewise_constant_schedule
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from transformers import optimization as library

from lora_studio.config_groups import OptimizerGroup
from lora_studio.errors import ConfigError

MakeSchedule = Callable[..., LRScheduler]


def build_schedule(settings: OptimizerGroup, optimizer: torch.optim.Optimizer) -> LRScheduler:
    """The schedule of a run. Raises ConfigError."""
    try:
        make, given = _maker(settings)
        return make(optimizer, **{**given, **settings.scheduler_arguments()})
    except (TypeError, ValueError, AssertionError) as error:
        raise ConfigError(
            f"The schedule {settings.lr_scheduler_type or settings.lr_scheduler} refuses its arguments: "
            f"{str(error).strip() or type(error).__name__}.",
            "Check lr_scheduler_args.",
            field="lr_scheduler_args",
        ) from error


def learning_rate(optimizer: torch.optim.Optimizer, schedule: LRScheduler) -> float:
    """The rate in force, that of the last group, for the progress. For Prodigy and D-Adaptation what they
    found is in it."""
    rate = float(schedule.get_last_lr()[-1])
    return rate * float(optimizer.param_groups[-1].get("d", 1.0))


def _maker(settings: OptimizerGroup) -> tuple[MakeSchedule, dict[str, Any]]:
    """A function that takes the optimizer, and its arguments."""
    if settings.schedule_free:
        return partial(LambdaLR, lr_lambda=_flat), {}
    if settings.finds_own_rate:
        return _FoundRates, {"initial_lr": _first_rate(settings)}
    if settings.lr_scheduler_type:
        return _class_of(settings.lr_scheduler_type), {}
    if settings.lr_scheduler == "piecewise_constant":
        return get_piecewise_constant_schedule, {}
    return _named(settings)


def _named(settings: OptimizerGroup) -> tuple[MakeSchedule, dict[str, Any]]:
    warmup = {"num_warmup_steps": settings.warmup_steps}
    steps = {**warmup, "num_training_steps": settings.max_train_steps}
    cycles, ratio = settings.lr_scheduler_num_cycles, settings.lr_scheduler_min_lr_ratio
    least = {} if ratio is None else {"min_lr_rate": ratio}
    made: Mapping[str, tuple[MakeSchedule, dict[str, Any]]] = {
        "constant": (library.get_constant_schedule, {}),
        "constant_with_warmup": (library.get_constant_schedule_with_warmup, warmup),
        "linear": (library.get_linear_schedule_with_warmup, steps),
        "cosine": (library.get_cosine_schedule_with_warmup, steps),
        "cosine_with_restarts": (
            library.get_cosine_with_hard_restarts_schedule_with_warmup,
            {**steps, "num_cycles": cycles},
        ),
        "polynomial": (
            library.get_polynomial_decay_schedule_with_warmup,
            {**steps, "power": settings.lr_scheduler_power},
        ),
        "inverse_sqrt": (
            library.get_inverse_sqrt_schedule,
            {**warmup, "timescale": settings.lr_scheduler_timescale},
        ),
        "cosine_with_min_lr": (
            library.get_cosine_with_min_lr_schedule_with_warmup,
            {**steps, "num_cycles": cycles / 2, **least},
        ),
        "cosine_warmup_with_min_lr": (
            library.get_cosine_with_min_lr_schedule_with_warmup_lr_rate,
            {**steps, "num_cycles": cycles / 2, **least},
        ),
        "warmup_stable_decay": (library.get_wsd_schedule, _stages(settings)),
    }
    return made[settings.lr_scheduler]


def _stages(settings: OptimizerGroup) -> dict[str, float]:
    rise, fall = settings.warmup_steps, settings.decay_steps
    return {
        "num_warmup_steps": rise,
        "num_stable_steps": settings.max_train_steps - rise - fall,
        "num_decay_steps": fall,
        "num_cycles": settings.lr_scheduler_num_cycles / 2,
        "min_lr_ratio": settings.lr_scheduler_min_lr_ratio or 0.0,
    }


def _flat(step: int) -> float:
    return 1.0


def _first_rate(settings: OptimizerGroup) -> float:
    """The rate that is shown before Adafactor has found one; it does not act."""
    _, _, rate = settings.lr_scheduler.partition(":")
    return float(rate) if rate else settings.learning_rate


class _FoundRates(library.AdafactorSchedule):
    """Follows the rates that Adafactor finds. The library's own leaves out groups whose first weights had no
    gradient in this step, as with module dropout, and torch does not take fewer rates than groups."""

    def get_lr(self) -> list[float]:
        groups = self.optimizer.param_groups
        return [self._rate(group, first) for group, first in zip(groups, self.base_lrs, strict=True)]

    def _rate(self, group: Mapping[str, Any], first: float) -> float:
        states = (self.optimizer.state.get(weight) for weight in group["params"])
        moved = next((state for state in states if state), None)
        return float(self.optimizer._get_lr(group, moved)) if moved else first


def _class_of(path: str) -> MakeSchedule:
    """A class of torch.optim.lr_scheduler, or by its path. Raises ConfigError."""
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module or "torch.optim.lr_scheduler"), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"There is no schedule {path}: {error}.",
            "Check the path, and that the package is installed beside LoRA Studio.",
            field="lr_scheduler_type",
        ) from error
