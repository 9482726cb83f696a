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
from lora_studio.request import MOST_DRAWN, GenerateRequest

if TYPE_CHECKING:
    from lora_studio.families.base import Parts
    from lora_studio.families.base_files.found_base import FoundBase

LEAST_STEP = 8
"""Pixels; diffusers takes no finer sizes."""
LEAST_SIDE, MOST_SIDE = 32, 2048
"""Those of a request; the larger one is what a picture to redraw is scaled down to where no size is given."""
MOST_HIRES_SIDE = 4096
Size = tuple[int, int]
"""Width and height in pixels."""


def fill_in(request: GenerateRequest, found: FoundBase) -> GenerateRequest:
    """Steps, guidance and seeds. Checks the sampler's name. Raises ConfigError."""
    base = found.traits
    if request.sampler and request.sampler not in SAMPLERS:
        raise ConfigError(
            f"There is no sampler called {request.sampler!r}.",
            _nearest_sampler(request.sampler),
            field="sampler",
        )
    steps = _or(request.num_inference_steps, base.num_inference_steps)
    filled: dict[str, Any] = {
        "num_inference_steps": steps,
        "guidance_scale": _or(request.guidance_scale, base.guidance_scale),
        "seed": _or(request.seed, secrets.randbelow(MOST_DRAWN)),
    }
    if request.variation_strength:
        filled["variation_seed"] = _or(request.variation_seed, secrets.randbelow(MOST_DRAWN))
    if request.hires_scale > 1:
        filled["hires_steps"] = _or(request.hires_steps, steps)
    return request.model_copy(update=filled)


def fit_to(
    request: GenerateRequest,
    found: FoundBase,
    parts: Parts,
    own: Mapping[str, Any],
    *,
    source: Size | None = None,
) -> GenerateRequest:
    """Size and sampler, which may need the loaded base; `own` is its scheduler's config, `source` the size of
    the picture to redraw. Raises ConfigError for a size that the base can't draw."""
    step = size_step(found, parts)
    if source is None or (request.mask_image and request.padding_mask_crop is not None):
        width, height = native_size(found, parts)
    else:
        width, height = _near(source, request.width, request.height, step)
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
    if max(hires_size(filled, step)) > MOST_HIRES_SIDE:
        raise ConfigError(
            f"The second pass would draw {' × '.join(map(str, hires_size(filled, step)))} pixels: at most "
            f"{MOST_HIRES_SIDE} a side.",
            "Take a smaller size, or a smaller scale.",
            field="hires_scale",
        )
    return filled


def size_step(found: FoundBase, parts: Parts) -> int:
    """Pixels; what the sides of a picture must be multiples of."""
    return math.lcm(LEAST_STEP, parts.codec.step, found.entry.step if found.entry else 1)


def hires_size(request: GenerateRequest, step: int) -> Size:
    """What the second pass draws; the size of `request` is filled in."""
    width, height = (
        max(step, round((side or 0) * request.hires_scale / step) * step)
        for side in (request.width, request.height)
    )
    return width, height


def skipped(steps: int, strength: float) -> int:
    """How many of `steps` a redrawing of `strength` leaves out, as diffusers counts; at least one step
    stays."""
    return steps - max(1, min(int(steps * strength), steps))


def stretched(steps: int, strength: float, most: int) -> tuple[int, int]:
    """Of how many steps a redrawing of `strength` has `steps` left (as A1111 counts in its hires fix), and
    how many are left out; where that is more than `most`, its share of those."""
    whole = math.ceil(steps / strength)
    if whole <= most:
        return whole, whole - steps
    return max(steps, most), skipped(max(steps, most), strength)


def steps_of(request: GenerateRequest) -> int:
    """Steps that one picture takes over all passes; the steps are filled in."""
    steps = request.num_inference_steps or 0
    first = steps - skipped(steps, request.strength) if request.image else steps
    return first + (request.hires_steps or 0 if has_second_pass(request) else 0)


def has_second_pass(request: GenerateRequest) -> bool:
    """What a mask leaves as it is can't be enlarged with the rest."""
    return request.hires_scale > 1 and not request.mask_image


def native_size(found: FoundBase, parts: Parts) -> tuple[int, int]:
    """Width and height in pixels that the base was made for."""
    if found.entry:
        return found.entry.native_size, found.entry.native_size
    return parts.native_size


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
    steps = _or(steps, request.num_inference_steps)
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


def _near(source: Size, width: int | None, height: int | None, step: int) -> Size:
    """The size that is nearest to the source's shape, with the side that is given, if one is."""
    scale = min(1.0, MOST_SIDE / max(source))
    if width is not None:
        scale = width / source[0]
    elif height is not None:
        scale = height / source[1]
    least = math.ceil(LEAST_SIDE / step) * step
    near = [min(MOST_SIDE, max(least, round(side * scale / step) * step)) for side in source]
    return _or(width, near[0]), _or(height, near[1])


def _nearest_sampler(name: str) -> str:
    by_lower = {known.lower(): known for known in SAMPLERS}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    return f"Did you mean {by_lower[near[0]]}?" if near else f"Choose one of: {', '.join(SAMPLERS)}."


def _or(value: Any, otherwise: Any) -> Any:
    return otherwise if value is None else value
