"""Steps, learning rates, schedule and optimizer."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from lora_studio.config_groups.free_arguments import read_arguments, split_arguments
from lora_studio.config_groups.setting_group import Group, setting
from lora_studio.errors import ConfigError
from lora_studio.parsing.numbers import parse_decimal, read_decimal, read_whole, shown

KNOWN_OPTIMIZERS = (
    *("AdamW", "AdamW8bit", "PagedAdamW", "PagedAdamW8bit", "PagedAdamW32bit"),
    *("Lion", "Lion8bit", "PagedLion8bit", "SGDNesterov", "SGDNesterov8bit"),
    *("Adafactor", "Prodigy", "AdamWScheduleFree", "RAdamScheduleFree", "SGDScheduleFree"),
    *("DAdaptation", "DAdaptAdamPreprint", "DAdaptAdaGrad", "DAdaptAdam", "DAdaptAdan", "DAdaptAdanIP"),
    *("DAdaptLion", "DAdaptSGD", "Adam", "Adagrad", "Adadelta", "Adamax", "NAdam", "RAdam", "RMSprop", "SGD"),
)
"""Optimizers with a name. Any other is the path of a class, so code to run: not for visitors of the page."""
KNOWN_SCHEDULERS = (
    *("constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial"),
    *("inverse_sqrt", "cosine_with_min_lr", "cosine_warmup_with_min_lr", "warmup_stable_decay"),
    *("piecewise_constant", "adafactor"),
)
CLASS_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
SCHEDULE_FREE = "schedulefree"


def _optimizer_name(name: str) -> str:
    """A known name in its own spelling, or a class path."""
    if "." in name:
        return _class_path(name)
    return _known(name, KNOWN_OPTIMIZERS, " A class path has a dot, as in package.Class.")


def _scheduler_name(name: str) -> str:
    kind, colon, rate = name.partition(":")
    if kind.strip().lower() == "reduce_lr_on_plateau":
        raise ValueError(
            "reduce_lr_on_plateau is not offered: it waits for a measured loss that stands still, which a "
            "training of a few thousand steps does not have; cosine or warmup_stable_decay come down as well"
        )
    if not colon:
        return _known(name, KNOWN_SCHEDULERS)
    if kind.strip().lower() != "adafactor" or not _is_rate(rate):
        raise ValueError(
            "only adafactor takes a number after a colon, its first learning rate: adafactor:1e-3"
        )
    return f"adafactor:{rate.strip()}"


def _class_path(path: str) -> str:
    if path and not CLASS_PATH.fullmatch(path):
        raise ValueError("a class path is written as package.module.Class")
    return path


def _known(name: str, names: Iterable[str], hint: str = "") -> str:
    spelled = {spelling.lower(): spelling for spelling in names}
    if name.strip().lower() in spelled:
        return spelled[name.strip().lower()]
    near = difflib.get_close_matches(name.lower(), spelled, n=1, cutoff=0.6)
    meant = f" Did you mean {spelled[near[0]]}?" if near else ""
    raise ValueError(f"there is no {shown(name)}.{meant}{hint} There are {', '.join(spelled.values())}")


def _is_rate(text: str) -> bool:
    rate = parse_decimal(text)
    return rate is not None and 0 <= rate <= 1


def _percent(given: Any) -> Any:
    """A percentage as a share, 20% as 0.2; anything else unchanged."""
    if isinstance(given, str) and given.strip().endswith("%"):
        share = parse_decimal(given.strip()[:-1])
        return given if share is None else share / 100
    return given


def _whole_or_share(steps: float) -> float:
    if steps < 1:
        return steps or 0
    if steps != int(steps):
        raise ValueError("it takes a whole number of steps, or a share below 1 such as 0.1 or 10%")
    return int(steps)


OptimizerName = Annotated[str, AfterValidator(_optimizer_name)]
SchedulerName = Annotated[str, AfterValidator(_scheduler_name)]
ClassPath = Annotated[str, AfterValidator(_class_path)]
Arguments = Annotated[tuple[str, ...], BeforeValidator(split_arguments)]
Steps = Annotated[float, BeforeValidator(_percent), AfterValidator(_whole_or_share)]
"""A number of steps, or a share of max_train_steps if below 1."""


class OptimizerGroup(Group):
    """Settings of steps, learning rates and optimizer."""

    max_train_steps: int = setting(
        1000,
        "How many steps to train. Too few: the subject doesn't show. Too many: every picture looks like the "
        "training set.",
        unit="steps",
        basic=True,
        ge=1,
        le=1_000_000,
    )
    learning_rate: float = setting(
        1e-4, "Size of each step. Twice as high learns faster and breaks sooner.", basic=True, gt=0, le=1
    )
    unet_lr: float | None = setting(None, "Learning rate of the denoiser. Empty: learning_rate.", ge=0, le=1)
    text_encoder_lr: float | None = setting(
        None,
        "Learning rate of the text encoder, usually a tenth to a half. Empty: learning_rate. 0: not trained.",
        ge=0,
        le=1,
    )
    lr_scheduler: SchedulerName = setting(
        "constant",
        "How the learning rate moves: constant, or falling along a cosine or a line; warm-up makes it "
        "rise first.",
        basic=True,
        choices=KNOWN_SCHEDULERS,
    )
    lr_warmup_steps: Steps = setting(
        0,
        "Steps over which the learning rate rises from 0. Below 1, or with %: a share of max_train_steps.",
        unit="steps",
        ge=0,
    )
    lr_decay_steps: Steps = setting(
        0,
        "Steps over which warmup_stable_decay falls at the end. Below 1, or with %: a share of "
        "max_train_steps.",
        unit="steps",
        ge=0,
    )
    lr_scheduler_num_cycles: int = setting(
        1, "How often cosine_with_restarts starts anew; humps of the other cosines.", ge=1, le=1000
    )
    lr_scheduler_power: float = setting(
        1.0, "Power of polynomial. 1: a line. 2: falls fast at first.", ge=0, le=100
    )
    lr_scheduler_timescale: int | None = setting(
        None, "Time scale of inverse_sqrt. Empty: the warm-up's length.", unit="steps", ge=1
    )
    lr_scheduler_min_lr_ratio: float | None = setting(
        None,
        "Where cosine_with_min_lr, cosine_warmup_with_min_lr and warmup_stable_decay end, as a share of the "
        "learning rate.",
        ge=0,
        le=1,
    )
    lr_scheduler_type: ClassPath = setting(
        "",
        "Class of another schedule, from torch.optim.lr_scheduler or by its path; it takes the place of "
        "lr_scheduler.",
        local=True,
    )
    lr_scheduler_args: Arguments = setting(
        (),
        "Further arguments of the schedule, each as name=value: step_rules=1:500,0.1 for piecewise_constant.",
    )
    optimizer_type: OptimizerName = setting(
        "AdamW",
        "How the weights follow the gradient. Those with 8bit or Paged need the extra `8bit`; Lion, Prodigy, "
        "DAdapt and ScheduleFree the extra `optimizers`. On your own machine also the path of a class.",
        choices=KNOWN_OPTIMIZERS,
    )
    optimizer_args: Arguments = setting(
        (), "Further arguments of the optimizer, each as name=value: betas=0.9,0.99 or decouple=True."
    )
    weight_decay: float | None = setting(
        None, "Pull of the LoRA weights towards 0. Empty: the optimizer's own, 0.01 for AdamW.", ge=0, le=1
    )
    gradient_accumulation_steps: int = setting(
        1,
        "Add up this many batches before each step: a large batch in the memory of a small one.",
        unit="batches",
        ge=1,
        le=256,
    )
    gradient_checkpointing: bool = setting(
        False, "Compute parts twice to save memory. About 1.5 times slower."
    )
    max_grad_norm: float = setting(1.0, "Cut larger gradients down to this length. 0: never.", ge=0, le=1000)
    seed: int = setting(
        42, "Start of all random numbers. Same seed, same result.", basic=True, ge=0, le=2**32 - 1
    )

    @property
    def warmup_steps(self) -> int:
        return self._steps(self.lr_warmup_steps)

    @property
    def decay_steps(self) -> int:
        return self._steps(self.lr_decay_steps)

    @property
    def schedule_free(self) -> bool:
        """Whether the optimizer keeps its own averages instead of a falling learning rate."""
        return self.optimizer_type.lower().endswith(SCHEDULE_FREE)

    @property
    def finds_own_rate(self) -> bool:
        """Whether this is Adafactor (Shazeer & Stern 2018) with its defaults, which finds the rate itself."""
        given = self.optimizer_arguments() if self.optimizer_type == "Adafactor" else {"relative_step": False}
        return bool(given.get("relative_step", True) or given.get("warmup_init", False))

    def optimizer_arguments(self) -> dict[str, Any]:
        """weight_decay, if set, and optimizer_args. Raises ValueError for arguments that can't be read."""
        decay = {} if self.weight_decay is None else {"weight_decay": self.weight_decay}
        return decay | read_arguments("optimizer_args", self.optimizer_args)

    def scheduler_arguments(self) -> dict[str, Any]:
        """lr_scheduler_args by name. Raises ValueError for arguments that can't be read."""
        return read_arguments("lr_scheduler_args", self.lr_scheduler_args)

    def check(self) -> None:
        """Refuse settings that do not go together. Raises ValueError that begins with the setting's name."""
        self._check_optimizer()
        self._check_schedule(self.lr_scheduler.partition(":")[0], self.scheduler_arguments())

    def _check_optimizer(self) -> None:
        given = self.optimizer_arguments()
        if {"lr", "params"} & set(given):
            raise ValueError("optimizer_args can't hold lr or params: use learning_rate")
        if self.weight_decay is not None and given["weight_decay"] != self.weight_decay:
            raise ValueError("optimizer_args and the setting weight_decay name different weight decays")

    def _check_schedule(self, name: str, given: dict[str, Any]) -> None:
        if self.lr_scheduler_type:
            if self.warmup_steps:
                raise ValueError(
                    "lr_warmup_steps can't be used with lr_scheduler_type, which has its own rule"
                )
            return
        if name == "adafactor" and not self.finds_own_rate:
            raise ValueError(
                "lr_scheduler adafactor follows the rate that the optimizer Adafactor finds by itself: use "
                "it with optimizer_type Adafactor, without relative_step=False"
            )
        if self.warmup_steps and self.finds_own_rate:
            raise ValueError(
                "lr_warmup_steps can't be used with Adafactor as it is: it warms up by itself with "
                "optimizer_args warmup_init=True"
            )
        if self.warmup_steps and name in {"constant", "piecewise_constant"}:
            raise ValueError("lr_warmup_steps needs a scheduler with warm-up: use constant_with_warmup")
        if name == "piecewise_constant":
            _check_rules(given.get("step_rules"))
        ends_somewhere = self.lr_scheduler_min_lr_ratio is not None or {"min_lr", "min_lr_rate"} & set(given)
        if name in {"cosine_with_min_lr", "cosine_warmup_with_min_lr"} and not ends_somewhere:
            raise ValueError(f"lr_scheduler_min_lr_ratio is needed for {name}: say where to end, such as 0.1")
        if name == "warmup_stable_decay" and self.warmup_steps + self.decay_steps > self.max_train_steps:
            raise ValueError("lr_decay_steps and lr_warmup_steps together are longer than max_train_steps")

    def _steps(self, steps: float) -> int:
        return int(steps * self.max_train_steps) if steps < 1 else int(steps)


def _check_rules(rules: Any) -> None:
    """Refuse step_rules that are not Kohya's: factor:until step, ..., last factor. Raises ValueError."""
    try:
        *parts, last = str(rules).split(",")
        read_decimal(last, "step_rules")
        for factor, until in (part.split(":") for part in parts):
            read_decimal(factor, "step_rules"), read_whole(until, "step_rules")
    except (ValueError, ConfigError):
        raise ValueError(
            "lr_scheduler_args needs step_rules for piecewise_constant: step_rules=1:500,0.1:800,0.01 is the "
            "whole rate up to step 500, a tenth up to 800, then a hundredth"
        ) from None
