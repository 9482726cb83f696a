"""A request with all decided that it leaves open: the one place for it. Looks nothing up by itself and loads
no torch.

What decides becomes known one after the other: the library at once, the base's defaults when it is found, and
of a base that the catalog doesn't have size and sampler only when it is loaded. `settle` decides what can be
decided so far; `Settled.fitted_to` the loaded base decides the rest and changes nothing else.
"""

from __future__ import annotations

import difflib
import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from lora_studio.catalog import SAMPLERS
from lora_studio.errors import ConfigError
from lora_studio.generation.lora_lookup import WantedLora, check_family
from lora_studio.prompts.expand import unread, untagged, with_triggers
from lora_studio.request import MAX_SEED, MOST_DRAWN, GenerateRequest, LoraUse

LEAST_SIDE, MOST_SIDE = 32, 2048
"""Least and most pixels of a side; a picture to redraw is scaled down to the larger without a size."""
MOST_HIRES_SIDE = 4096
Size = tuple[int, int]
"""Width and height in pixels."""
Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class BaseValues:
    """Values that a base brings to a request. `size` is what it was made for and `sampler` its own; both are
    empty where only loading it tells. `step`, None before it is loaded, are the pixels that the sides of a
    picture must be multiples of. With a sampler of `washing_out` colours come out pale, since the base is
    trained with zero terminal SNR. `has_shift`: its steps can be moved towards noise. `samplers` are those
    that can draw with it. `distilled_guidance_scale`, only once it is loaded: what it is told where it takes
    a guidance."""

    name: str
    family: str
    num_inference_steps: int
    guidance_scale: float
    size: Size | None = None
    sampler: str = ""
    step: int | None = None
    washing_out: frozenset[str] = frozenset()
    has_shift: bool = False
    distilled_guidance_scale: float | None = None
    samplers: tuple[str, ...] = tuple(SAMPLERS)


class Library(Protocol):
    """A library of the LoRAs and pictures that a request names."""

    def slug_of(self, name: str) -> str:
        """The slug of the LoRA that a tag calls by its slug or title. Raises StoreError."""
        ...

    def loras(self, uses: Sequence[LoraUse]) -> list[WantedLora]:
        """A request's LoRAs with their files. Raises StoreError, ConfigError, BrokenFile, UnknownFormat."""
        ...

    def picture_size(self, request: GenerateRequest) -> Size | None:
        """The size of the picture to redraw; None without one. Raises ConfigError, StoreError."""
        ...

    def chosen(self, text: str, seed: int) -> str:
        """A prompt of the image with this seed, each choice made. Raises ConfigError."""
        ...


@dataclass(frozen=True, kw_only=True)
class SettledImage:
    """One image to draw by itself. `request` has all values filled in and the image's own seeds; `prompt` and
    `negative_prompt` are as they are drawn, `hires` is the size of the second pass, where there is one."""

    request: GenerateRequest
    prompt: str
    negative_prompt: str
    loras: tuple[WantedLora, ...]
    hires: Size


@dataclass(frozen=True, kw_only=True)
class Settled:
    """`request` has all values filled in that are known so far, and no LoRA tags; `loras` are those whose
    weight isn't 0; `images` are none before the base is loaded; `notes` are sentences on what is ignored or
    changed."""

    request: GenerateRequest
    loras: tuple[WantedLora, ...] = ()
    images: tuple[SettledImage, ...] = ()
    notes: tuple[str, ...] = ()

    def fitted_to(self, base: BaseValues, library: Library) -> Settled:
        """Decide size and sampler as far as the base is known, and what of the request it can't do; of a
        loaded base the images, too. Raises as `settle` does."""
        source = library.picture_size(self.request)
        loras = tuple(library.loras(self.request.loras))
        for lora in loras:
            check_family(lora, base)
        filled = _with_size(self.request, base, source)
        if base.step is None:
            return replace(self, request=filled, loras=loras)
        _check_size(filled, base, base.step)
        notes = (*self.notes, *_ignored(filled, base), *_changed(self.request, filled, source))
        images = tuple(_image(filled, loras, number, base.step, library) for number in range(filled.count))
        return Settled(request=filled, loras=loras, images=images, notes=notes)


def settle(request: GenerateRequest, base: BaseValues, library: Library) -> Settled:
    """Decide what the request leaves open: LoRA tags become LoRAs; steps, guidance and seeds are filled in,
    size and sampler as soon as they are known. Raises ConfigError for what the base can't do, FamilyMismatch
    for LoRAs that are made for another, and what `library` raises."""
    tags = untagged(request.prompt, request.negative_prompt, request.loras, library.slug_of)
    filled = {"prompt": tags.prompt, "loras": tags.loras, **_numbers(request, base)}
    so_far = Settled(request=request.model_copy(update=filled), notes=tags.remarks)
    return so_far.fitted_to(base, library)


def _image(
    request: GenerateRequest, loras: tuple[WantedLora, ...], number: int, step: int, library: Library
) -> SettledImage:
    """Image `number` (from 0), with choices made and trigger words in front. Variations keep the seed and go
    on with the second one; seeds wrap around at the top."""
    counted = "variation_seed" if request.variation_strength else "seed"
    seed = ((getattr(request, counted) or 0) + number) % (MAX_SEED + 1)
    request = request.model_copy(update={counted: seed, "count": 1})
    triggers = [lora.trigger_word for lora in loras] if request.insert_trigger else []
    return SettledImage(
        request=request,
        prompt=with_triggers(library.chosen(request.prompt, request.seed or 0), triggers),
        negative_prompt=library.chosen(request.negative_prompt, request.seed or 0),
        loras=loras,
        hires=_hires_size(request, step),
    )


def _numbers(request: GenerateRequest, base: BaseValues) -> dict[str, object]:
    """Steps, guidance and seeds, by field."""
    if request.sampler and request.sampler not in base.samplers:
        raise _refused_sampler(request.sampler, base)
    steps = _or(request.num_inference_steps, base.num_inference_steps)
    filled: dict[str, object] = {
        "num_inference_steps": steps,
        "guidance_scale": _or(request.guidance_scale, base.guidance_scale),
        "seed": _or(request.seed, secrets.randbelow(MOST_DRAWN)),
    }
    if request.variation_strength:
        filled["variation_seed"] = _or(request.variation_seed, secrets.randbelow(MOST_DRAWN))
    if request.hires_scale > 1:
        filled["hires_steps"] = _or(request.hires_steps, steps)
    return filled


def _with_size(request: GenerateRequest, base: BaseValues, source: Size | None) -> GenerateRequest:
    """Size, sampler and distilled guidance, as far as they are known."""
    sampler = request.sampler or base.sampler
    if source is None or _is_cropped(request):
        size = base.size if base.step is not None or not request.image else None
    else:
        size = _near(source, request, base.step) if base.step is not None else None
    width, height = size or (None, None)
    settled: dict[str, object] = {"width": _or(request.width, width), "height": _or(request.height, height)}
    settled |= {"sampler": sampler}
    if base.distilled_guidance_scale is not None and request.distilled_guidance_scale is None:
        settled["distilled_guidance_scale"] = base.distilled_guidance_scale
    return request.model_copy(update=settled)


def _check_size(request: GenerateRequest, base: BaseValues, step: int) -> None:
    for side, pixels in (("width", request.width), ("height", request.height)):
        if pixels is not None and pixels % step:
            raise ConfigError(
                f"The {side} of {pixels} px doesn't suit “{base.name}”: it must be a multiple of {step}.",
                f"The nearest is {max(step, round(pixels / step) * step)}.",
                field=side,
            )
    larger = _hires_size(request, step)
    if max(larger) > MOST_HIRES_SIDE:
        raise ConfigError(
            f"The second pass would draw {' × '.join(map(str, larger))} pixels: at most "
            f"{MOST_HIRES_SIDE} a side.",
            "Take a smaller size, or a smaller scale.",
            field="hires_scale",
        )


def _ignored(request: GenerateRequest, base: BaseValues) -> list[str]:
    sentences = []
    if request.sampler in base.washing_out:
        sentences.append(
            f"This base model is trained with zero terminal SNR, which the sampler {request.sampler} doesn't "
            "know: colours may be washed out. Euler does."
        )
    if request.shift is not None and not base.has_shift:
        sentences.append("The shift is ignored: this base model is not made for flow matching.")
    if request.distilled_guidance_scale is not None and base.distilled_guidance_scale is None:
        sentences.append("The distilled guidance is ignored: this base model takes none.")
    sentences += unread(f"{request.prompt}\n{request.negative_prompt}")
    if (request.guidance_scale or 0) <= 1:
        if request.negative_prompt:
            sentences.append("The negative prompt is ignored at a guidance of 1 or less.")
        if request.guidance_rescale:
            sentences.append("The guidance rescale is ignored at a guidance of 1 or less.")
    if request.image and request.mask_image and request.hires_scale > 1:
        sentences.append(
            "The second pass is left out: what a mask leaves as it is can't be enlarged with the rest."
        )
    return sentences


def _changed(asked: GenerateRequest, filled: GenerateRequest, source: Size | None) -> list[str]:
    drawn = (filled.width, filled.height)
    if source is None or (asked.width, asked.height) != (None, None):
        return []
    if _is_cropped(filled) or drawn == source:
        return []
    size, near = (" × ".join(map(str, sides)) for sides in (source, drawn))
    return [f"The picture of {size} pixels is drawn at {near}, the nearest size that suits the base model."]


def steps_of(request: GenerateRequest) -> int:
    """Steps that one picture takes over all passes; the steps are filled in."""
    steps = request.num_inference_steps or 0
    first = steps - skipped(steps, request.strength) if request.image else steps
    return first + (request.hires_steps or 0 if has_second_pass(request) else 0)


def has_second_pass(request: GenerateRequest) -> bool:
    """Whether a second pass enlarges the picture; never with a mask, whose rest can't be enlarged."""
    return request.hires_scale > 1 and not request.mask_image


def skipped(steps: int, strength: float) -> int:
    """The count of `steps` that a redrawing of `strength` leaves out, as in diffusers; one at least stays."""
    return steps - max(1, min(int(steps * strength), steps))


def stretched(steps: int, strength: float, most: int) -> tuple[int, int]:
    """The steps of a redrawing of `strength` that leaves `steps` of them to take, as A1111 counts in its
    hires fix, and the count left out; where the former would be more than `most`, `most` steps with the share
    of them left out."""
    whole = math.ceil(steps / strength)
    if whole <= most:
        return whole, whole - steps
    return max(steps, most), skipped(max(steps, most), strength)


def _hires_size(request: GenerateRequest, step: int) -> Size:
    width, height = (
        max(step, round((side or 0) * request.hires_scale / step) * step)
        for side in (request.width, request.height)
    )
    return width, height


def _near(source: Size, request: GenerateRequest, step: int) -> Size:
    """The size that is nearest to the source's shape, with the side that is given, if one is."""
    scale = min(1.0, MOST_SIDE / max(source))
    if request.width is not None:
        scale = request.width / source[0]
    elif request.height is not None:
        scale = request.height / source[1]
    least = math.ceil(LEAST_SIDE / step) * step
    near = [min(MOST_SIDE, max(least, round(side * scale / step) * step)) for side in source]
    return near[0], near[1]


def _is_cropped(request: GenerateRequest) -> bool:
    return bool(request.mask_image) and request.padding_mask_crop is not None


def _refused_sampler(name: str, base: BaseValues) -> ConfigError:
    choices = f"Choose one of: {', '.join(base.samplers)}."
    if name in SAMPLERS:
        return ConfigError(f"The sampler {name} can't draw with “{base.name}”.", choices, field="sampler")
    by_lower = {sampler.lower(): sampler for sampler in base.samplers}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    hint = f"Did you mean {by_lower[near[0]]}?" if near else choices
    return ConfigError(f"There is no sampler called {name!r}.", hint, field="sampler")


def _or(value: Value | None, otherwise: Value) -> Value:
    return otherwise if value is None else value
