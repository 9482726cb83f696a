"""What a request leaves open, filled in from the catalog and from the base itself."""

from __future__ import annotations

import difflib
import math
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lora_studio.catalog import SAMPLERS, Base
from lora_studio.errors import ConfigError
from lora_studio.families.schedulers import build_scheduler
from lora_studio.request import MAX_SEED, GenerateRequest

if TYPE_CHECKING:
    from lora_studio.families.detect import FoundBase

LIKE_SD1 = Base(name="", title="", family="", source="", native_size=512)
"""For a base that the catalog does not know; its size comes from the base itself."""
LEAST_STEP = 8
"""Pixels; diffusers takes no finer sizes."""


def fill_in(request: GenerateRequest, found: FoundBase) -> GenerateRequest:
    """Steps, guidance and seed. Checks the sampler's name. Raises ConfigError."""
    entry = found.entry or LIKE_SD1
    if request.sampler and request.sampler not in SAMPLERS:
        raise ConfigError(
            f"There is no sampler called {request.sampler!r}.",
            _nearest_sampler(request.sampler),
            field="sampler",
        )
    return request.model_copy(
        update={
            "num_inference_steps": _or(request.num_inference_steps, entry.num_inference_steps),
            "guidance_scale": _or(request.guidance_scale, entry.guidance_scale),
            "seed": _or(request.seed, secrets.randbelow(MAX_SEED + 1)),
        }
    )


def fit_to(request: GenerateRequest, found: FoundBase, pipe: Any, own: Mapping[str, Any]) -> GenerateRequest:
    """Size and sampler, which may need the loaded base; `own` is its scheduler's config. Raises ConfigError
    for a size that the base can't draw."""
    width, height = native_size(found, pipe)
    step = math.lcm(LEAST_STEP, pipe.vae_scale_factor, found.entry.step if found.entry else 1)
    filled = request.model_copy(
        update={
            "width": _or(request.width, width),
            "height": _or(request.height, height),
            "sampler": request.sampler or (found.entry.sampler if found.entry else sampler_of(own)),
        }
    )
    for side, pixels in (("width", filled.width), ("height", filled.height)):
        if pixels is not None and pixels % step:
            raise ConfigError(
                f"The {side} of {pixels} px doesn't suit “{found.name}”: it must be a multiple of {step}.",
                f"The nearest is {max(step, round(pixels / step) * step)}.",
                field=side,
            )
    return filled


def native_size(found: FoundBase, pipe: Any) -> tuple[int, int]:
    """Width and height in pixels that the base was made for."""
    if found.entry:
        return found.entry.native_size, found.entry.native_size
    latent = pipe.unet.config.sample_size
    height, width = (latent, latent) if isinstance(latent, int) else latent
    return width * pipe.vae_scale_factor, height * pipe.vae_scale_factor


def sampler_of(config: Mapping[str, Any]) -> str:
    """The catalog's name for a base's own scheduler; the usual default if it has none there."""
    fitting = [
        name
        for name, sampler in SAMPLERS.items()
        if config.get("_class_name") == sampler.scheduler
        and all(config.get(key) == value for key, value in sampler.options.items())
    ]
    return max(fitting, key=lambda name: len(SAMPLERS[name].options), default=LIKE_SD1.sampler)


def scheduler_for(request: GenerateRequest, own: Mapping[str, Any]) -> Any:
    """The request's sampler on the base's noise schedule. Raises ConfigError for a number of steps it can't
    do."""
    scheduler = build_scheduler(request.sampler, own)
    try:
        scheduler.set_timesteps(request.num_inference_steps)
    except ValueError as error:
        raise ConfigError(
            f"The sampler {request.sampler} can't do {request.num_inference_steps} steps.",
            "Take fewer steps, or another sampler.",
            field="num_inference_steps",
        ) from error
    return scheduler


def _nearest_sampler(name: str) -> str:
    by_lower = {known.lower(): known for known in SAMPLERS}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    return f"Did you mean {by_lower[near[0]]}?" if near else f"Choose one of: {', '.join(SAMPLERS)}."


def _or(value: Any, otherwise: Any) -> Any:
    return otherwise if value is None else value
