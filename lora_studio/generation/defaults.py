"""What a base brings to a request that leaves it open: from the catalog, and from the base itself."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lora_studio.catalog import SAMPLERS, Base
from lora_studio.errors import ConfigError
from lora_studio.families.schedulers import build_scheduler, keeps_zero_snr
from lora_studio.generation.requests.settled_request import BaseValues, Size
from lora_studio.request import GenerateRequest

if TYPE_CHECKING:
    from lora_studio.families.base import Parts
    from lora_studio.families.base_files.found_base import FoundBase
    from lora_studio.generation.pipelines import LoadedBase

LEAST_STEP = 8
"""Pixels; diffusers takes no finer sizes."""


def values_of(found: FoundBase) -> BaseValues:
    """What is known before it is loaded."""
    traits, entry = found.traits, found.entry
    return BaseValues(
        name=found.name,
        family=found.family,
        num_inference_steps=traits.num_inference_steps,
        guidance_scale=traits.guidance_scale,
        size=(entry.native_size, entry.native_size) if entry else None,
        sampler=entry.sampler if entry else "",
    )


def loaded_values(base: LoadedBase) -> BaseValues:
    """All of it."""
    known, own = values_of(base.found), base.scheduler_config
    pale = own.get("rescale_betas_zero_snr")
    return replace(
        known,
        size=native_size(base.found, base.parts),
        sampler=known.sampler or sampler_of(own),
        step=size_step(base.found, base.parts),
        washing_out=frozenset(name for name in SAMPLERS if not keeps_zero_snr(name)) if pale else frozenset(),
        rescales=takes_rescale(base.pipe),
    )


def size_step(found: FoundBase, parts: Parts) -> int:
    """Pixels; what the sides of a picture must be multiples of."""
    return math.lcm(LEAST_STEP, parts.codec.step, found.entry.step if found.entry else 1)


def native_size(found: FoundBase, parts: Parts) -> Size:
    """Width and height in pixels that the base was made for."""
    if found.entry:
        return found.entry.native_size, found.entry.native_size
    return parts.native_size


def takes_rescale(pipe: Any) -> bool:
    return "guidance_rescale" in inspect.signature(type(pipe).__call__).parameters


def sampler_of(config: Mapping[str, Any]) -> str:
    """The catalog's name for a base's own scheduler; the usual default if it has none there."""
    fitting = [
        name
        for name, sampler in SAMPLERS.items()
        if config.get("_class_name") == sampler.scheduler
        and all(config.get(key) == value for key, value in sampler.options.items())
    ]
    return max(fitting, key=lambda name: len(SAMPLERS[name].options), default=Base.sampler)


def scheduler_for(request: GenerateRequest, own: Mapping[str, Any], steps: int | None = None) -> Any:
    """The request's sampler on the base's noise schedule; `steps` in place of the request's. Raises
    ConfigError for a number of steps it can't do."""
    steps = request.num_inference_steps if steps is None else steps
    scheduler = build_scheduler(request.sampler, own)
    try:
        scheduler.set_timesteps(steps)
    except ValueError as error:
        raise ConfigError(
            f"The sampler {request.sampler} can't do {steps} steps.",
            "Take fewer steps, or another sampler.",
            field="num_inference_steps",
        ) from error
    return scheduler
