"""What a request asks for in vain, in sentences."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from lora_studio.families.schedulers import keeps_zero_snr
from lora_studio.generation.defaults import Size
from lora_studio.prompts.expand import unread

if TYPE_CHECKING:
    from lora_studio.request import GenerateRequest


def remarks(
    asked: GenerateRequest, filled: GenerateRequest, pipe: Any, own: Mapping[str, Any], source: Size | None
) -> Iterator[str]:
    """What of `asked` is ignored or changed. `filled` is the same with all values, `own` the config of the
    base's scheduler, `source` the size of the picture to redraw."""
    if own.get("rescale_betas_zero_snr") and not keeps_zero_snr(filled.sampler):
        yield (
            f"This base model is trained with zero terminal SNR, which the sampler {filled.sampler} doesn't "
            "know: colours may be washed out. Euler does."
        )
    yield from unread(f"{filled.prompt}\n{filled.negative_prompt}")
    if (filled.guidance_scale or 0) <= 1:
        if filled.negative_prompt:
            yield "The negative prompt is ignored at a guidance of 1 or less."
        if filled.guidance_rescale:
            yield "The guidance rescale is ignored at a guidance of 1 or less."
    elif filled.guidance_rescale and not takes_rescale(pipe):
        yield "The guidance rescale is ignored: this base model's pipeline has none."
    if source is None:
        return
    if filled.mask_image and filled.hires_scale > 1:
        yield "The second pass is left out: what a mask leaves as it is can't be enlarged with the rest."
    drawn = (filled.width, filled.height)
    if (asked.width, asked.height) == (None, None) and not _is_cropped(filled) and drawn != source:
        size, near = (" × ".join(map(str, sides)) for sides in (source, drawn))
        yield f"The picture of {size} pixels is drawn at {near}, the nearest size that suits the base model."


def takes_rescale(pipe: Any) -> bool:
    return "guidance_rescale" in inspect.signature(type(pipe).__call__).parameters


def _is_cropped(request: GenerateRequest) -> bool:
    return bool(request.mask_image) and request.padding_mask_crop is not None
