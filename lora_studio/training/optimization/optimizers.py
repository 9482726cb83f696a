"""The optimizer, by its name or class path.

Those that torch and transformers lack come from the libraries that Kohya's trainer uses, so the arguments and
the numbers are the same: prodigyopt, dadaptation, schedulefree, lion-pytorch (the extra `optimizers`) and
bitsandbytes (the extra `8bit`).
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from lora_studio.config_groups import OptimizerGroup
from lora_studio.errors import ConfigError

PACKAGES: Mapping[str, str] = {
    "bitsandbytes": "bitsandbytes",
    "dadaptation": "dadaptation",
    "lion_pytorch": "lion-pytorch",
    "prodigyopt": "prodigyopt",
    "schedulefree": "schedulefree",
}
"""Modules of optional libraries and what to install for them."""
CLASSES: Mapping[str, str] = {
    **{name: f"bitsandbytes.optim.{name}" for name in ("AdamW8bit", "PagedAdamW", "PagedAdamW8bit")},
    **{name: f"bitsandbytes.optim.{name}" for name in ("PagedAdamW32bit", "Lion8bit", "PagedLion8bit")},
    "SGDNesterov8bit": "bitsandbytes.optim.SGD8bit",
    "SGDNesterov": "torch.optim.SGD",
    "Lion": "lion_pytorch.Lion",
    "Adafactor": "transformers.optimization.Adafactor",
    "Prodigy": "prodigyopt.Prodigy",
    **{f"{kind}ScheduleFree": f"schedulefree.{kind}ScheduleFree" for kind in ("AdamW", "RAdam", "SGD")},
    "DAdaptation": "dadaptation.experimental.DAdaptAdamPreprint",
    "DAdaptAdamPreprint": "dadaptation.experimental.DAdaptAdamPreprint",
    "DAdaptAdanIP": "dadaptation.experimental.DAdaptAdanIP",
    **{f"DAdapt{kind}": f"dadaptation.DAdapt{kind}" for kind in ("AdaGrad", "Adam", "Adan", "Lion", "SGD")},
}
"""Known names whose class is not simply torch's of that name."""
FINDS_ITS_RATE = ("DAdapt", "Prodigy")
"""Optimizers that scale one learning rate, usually 1, for all groups."""
UNSAID: Mapping[str, Mapping[str, Any]] = {
    "AdamW": {"fused": True},
    "SGDNesterov": {"nesterov": True},
    "SGDNesterov8bit": {"nesterov": True},
}
SAID: Mapping[str, Mapping[str, Any]] = {
    "SGDNesterov": {"momentum": 0.9},
    "SGDNesterov8bit": {"momentum": 0.9},
}
"""Arguments given besides the user's, as those of UNSAID are; Kohya's trainer names only these in the
file."""


def build_optimizer(settings: OptimizerGroup, groups: Sequence[Mapping[str, Any]]) -> torch.optim.Optimizer:
    """The optimizer over parameter groups, each with `params`, `lr` and whatever else it shall keep. Raises
    ConfigError."""
    name = settings.optimizer_type
    kind = _class_of(CLASSES.get(name, name))
    left_out = {"lr"} if settings.finds_own_rate else set()
    kept = [{key: value for key, value in group.items() if key not in left_out} for group in groups]
    rate = None if settings.finds_own_rate else settings.learning_rate
    if name.startswith(FINDS_ITS_RATE):
        _check_one_rate(name, kept)
    given = {**UNSAID.get(name, {}), **_arguments(settings)}
    _check_arguments(kind, name, given)
    try:
        optimizer: torch.optim.Optimizer = kind(kept, lr=rate, **given)
    except (TypeError, ValueError, RuntimeError, AssertionError, NotImplementedError) as error:
        lines = str(error).strip().splitlines()
        raise ConfigError(
            f"The optimizer {name} refuses its arguments: {lines[0] if lines else type(error).__name__}.",
            "Check optimizer_args.",
            field="optimizer_args",
        ) from error
    optimizer_mode(optimizer, training=True)
    return optimizer


def optimizer_mode(optimizer: torch.optim.Optimizer, *, training: bool) -> None:
    """Put the averaged weights of a schedule-free optimizer in place (Defazio et al. 2024), for previews and
    files, or with `training` those it learns with; nothing for others. Asking twice is harmless.

    Going back brings the very same bits: the library computes them anew, which would let a run depend on how
    often it was looked at.
    """
    switch = getattr(optimizer, "train" if training else "eval", None)
    if switch is None:
        return
    if not training:
        if not hasattr(optimizer, KEPT):
            setattr(optimizer, KEPT, [weight.detach().clone() for weight in _weights(optimizer)])
        switch()
        return
    switch()
    if hasattr(optimizer, KEPT):
        with torch.no_grad():
            for weight, kept in zip(_weights(optimizer), getattr(optimizer, KEPT), strict=True):
                weight.copy_(kept)
        delattr(optimizer, KEPT)


def describe(optimizer: torch.optim.Optimizer, settings: OptimizerGroup) -> str:
    """The optimizer's entry in a LoRA file, as Kohya's trainer writes it: class path and arguments."""
    kind = type(optimizer)
    given = ",".join(f"{name}={value}" for name, value in _arguments(settings).items())
    return f"{kind.__module__}.{kind.__name__}" + (f"({given})" if given else "")


KEPT = "_lora_studio_training_weights"


def _weights(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    return [weight for group in optimizer.param_groups for weight in group["params"]]


def _arguments(settings: OptimizerGroup) -> dict[str, Any]:
    """Kohya's own, then the user's."""
    given = {**SAID.get(settings.optimizer_type, {}), **settings.optimizer_arguments()}
    return given | {"relative_step": True} if settings.finds_own_rate else given


def _class_of(path: str) -> Any:
    """A class of torch.optim, or by its path. Raises ConfigError."""
    module, _, name = path.rpartition(".")
    module = module or "torch.optim"
    package = module.partition(".")[0]
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        if isinstance(error, ImportError) and package in PACKAGES:
            raise _missing(package, error) from error
        raise ConfigError(
            f"There is no optimizer {path}: {error}.",
            "Check the path, and that the package is installed beside LoRA Studio.",
            field="optimizer_type",
        ) from error


def _missing(package: str, error: ImportError) -> ConfigError:
    extra = "8bit" if package == "bitsandbytes" else "optimizers"
    return ConfigError(
        f"This optimizer needs the package {PACKAGES[package]}, which can't be loaded here: {error}.",
        f"Install it with: pip install {PACKAGES[package]} (all of its kind: the extra {extra}).",
        field="optimizer_type",
    )


def _check_arguments(kind: Any, name: str, given: Mapping[str, Any]) -> None:
    step = getattr(kind, "step", None)
    closure = inspect.signature(step).parameters.get("closure") if step else None
    if step is None or (closure is not None and closure.default is closure.empty):
        raise ConfigError(
            f"{name} is no optimizer that takes one step for one gradient.",
            "LBFGS and those whose names end in Closure work by another rule; choose a different one.",
            field="optimizer_type",
        )
    parameters = inspect.signature(kind).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for argument in given:
        if argument not in parameters:
            near = difflib.get_close_matches(argument, parameters, n=1, cutoff=0.5)
            raise ConfigError(
                f"The optimizer {name} has no argument {argument}.",
                f"Did you mean {near[0]}?" if near else f"It has {', '.join([*parameters][1:])}.",
                field="weight_decay" if argument == "weight_decay" else "optimizer_args",
            )


def _check_one_rate(name: str, groups: Sequence[Mapping[str, Any]]) -> None:
    rates = sorted({group["lr"] for group in groups})
    if len(rates) > 1:
        raise ConfigError(
            f"{name} finds one learning rate for all that is trained, but there are several: "
            f"{', '.join(f'{rate:g}' for rate in rates)}.",
            "Leave unet_lr, text_encoder_lr and block or LoRA+ ratios empty, and set learning_rate to 1.",
            field="learning_rate",
        )
