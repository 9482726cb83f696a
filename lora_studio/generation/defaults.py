"""Values that a base brings to a request that leaves them open: the catalog's, and its own."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from lora_studio.catalog import SAMPLERS
from lora_studio.families.schedulers import keeps_zero_snr
from lora_studio.generation.requests.settled_request import BaseValues, Size

if TYPE_CHECKING:
    from lora_studio.families.base import BaseModel
    from lora_studio.families.base_files.found_base import FoundBase
    from lora_studio.generation.pipelines import LoadedBase

LEAST_STEP = 8
"""Pixels; diffusers takes no finer sizes."""


def values_of(found: FoundBase) -> BaseValues:
    """The values known before the base is loaded."""
    traits, entry = found.traits, found.entry
    return BaseValues(
        name=found.name,
        family=found.family,
        num_inference_steps=traits.num_inference_steps,
        guidance_scale=traits.guidance_scale,
        size=(entry.native_size, entry.native_size) if entry else None,
        sampler=entry.sampler if entry else "",
        samplers=traits.samplers,
    )


def loaded_values(base: LoadedBase) -> BaseValues:
    """All of it."""
    values, config, traits = values_of(base.found), base.model.process.config, base.found.traits
    pale = config.get("rescale_betas_zero_snr")
    return replace(
        values,
        size=native_size(base.found, base.model),
        sampler=base.found.entry.sampler if base.found.entry else base.model.process.sampler,
        step=size_step(base.found, base.model),
        has_shift=base.model.process.has_shift,
        distilled_guidance_scale=traits.distilled_guidance_scale if base.model.takes_guidance else None,
        washing_out=frozenset(name for name in SAMPLERS if not keeps_zero_snr(name)) if pale else frozenset(),
    )


def size_step(found: FoundBase, model: BaseModel) -> int:
    """Pixels; what the sides of a picture must be multiples of."""
    return math.lcm(LEAST_STEP, model.size_step, found.entry.step if found.entry else 1)


def native_size(found: FoundBase, model: BaseModel) -> Size:
    """Width and height in pixels that the base was made for."""
    if found.entry:
        return found.entry.native_size, found.entry.native_size
    return model.native_size
