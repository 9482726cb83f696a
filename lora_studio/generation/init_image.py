"""The picture that is redrawn: all of it, or the part a mask leaves free."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageFilter

from lora_studio.errors import ConfigError
from lora_studio.families.vae import Codec, Moments
from lora_studio.families.weights.silence_libraries import quiet_libraries
from lora_studio.generation.requests.settled_request import Size
from lora_studio.images import input_store
from lora_studio.request import GenerateRequest
from lora_studio.runtime import memory_errors

Box = tuple[int, int, int, int]


@dataclass(frozen=True, kw_only=True)
class InitImage:
    """`part` (RGB) is what the denoiser is given, in the size it draws, `moments` what the autoencoder makes
    of it. With a `mask` (L, white where redrawn, its edge faded) the result goes into `whole`, which has the
    mask's size; `box` is where `part` lies in it."""

    part: Image.Image
    moments: Moments
    whole: Image.Image
    mask: Image.Image | None = None
    box: Box | None = None

    def latent_mask(self, step: int) -> torch.Tensor | None:
        """1 for each latent pixel of `step` pixels that the mask touches, else 0; [1, 1, h, w]."""
        if self.mask is None:
            return None
        mask = self.mask.crop(self.box) if self.box else self.mask
        if mask.size != self.part.size:
            mask = mask.resize(self.part.size, Image.Resampling.BILINEAR)
        touched = torch.frombuffer(bytearray(mask.tobytes()), dtype=torch.uint8) > 0
        pixels = touched.view(1, 1, mask.height, mask.width).float()
        return torch.nn.functional.max_pool2d(pixels, step)

    def finish(self, drawn: Image.Image) -> Image.Image:
        """The result: `drawn` where the mask is, elsewhere `whole` to the bit."""
        if self.mask is None:
            return drawn
        if self.box is None:
            return Image.composite(drawn, self.whole, self.mask)
        left, top, right, bottom = self.box
        result = self.whole.copy()
        fitted = drawn.resize((right - left, bottom - top), Image.Resampling.LANCZOS)
        result.paste(fitted, (left, top), self.mask.crop(self.box))
        return result


def open_init_image(request: GenerateRequest, codec: Codec, folder: Path) -> InitImage:
    """The source of a request that has a picture, and its size filled in; `folder` has the pictures that were
    taken in. One of another size is scaled to fit, as A1111's "just resize". Raises ConfigError, StoreError,
    OutOfMemory."""
    size = (request.width or 0, request.height or 0)
    whole = input_store.picture(request.image, folder).convert("RGB")
    mask, box = _mask_of(request, folder, whole.size), None
    if mask is not None and request.padding_mask_crop is not None:
        mask = _some(faded(mask, request.mask_blur))
        box = codec.processor.get_crop_region(mask, *size, pad=request.padding_mask_crop)
        part = _fitted(whole.crop(box), size)
    else:
        part = whole = _fitted(whole, size)
        mask = mask and _some(faded(_fitted(mask, size), request.mask_blur))
    with quiet_libraries(), memory_errors("reading the picture to redraw", "Take a smaller size."):
        with torch.no_grad():
            moments = codec.encode(codec.to_pixels(part))
        return InitImage(part=part, moments=moments, whole=whole, mask=mask, box=box)


def _mask_of(request: GenerateRequest, folder: Path, size: Size) -> Image.Image | None:
    """L, of the whole picture's size."""
    if not request.mask_image:
        return None
    mask = _some(input_store.picture(request.mask_image, folder).convert("L"))
    return mask if mask.size == size else mask.resize(size, Image.Resampling.NEAREST)


def _some(mask: Image.Image) -> Image.Image:
    """The mask, unless it is empty: by itself, or because little of it was left in scaling and fading."""
    if mask.getbbox() is None:
        raise ConfigError(
            "The mask is empty: nothing would be redrawn.",
            "Paint white over what is to change; more of it where its edge fades far.",
            field="mask_image",
        )
    return mask


def faded(mask: Image.Image, blur: int) -> Image.Image:
    """A mask with faded edges as in A1111: `blur` is the standard deviation in pixels."""
    return mask.filter(ImageFilter.GaussianBlur(blur)) if blur else mask


def _fitted(picture: Image.Image, size: Size) -> Image.Image:
    return picture if picture.size == size else picture.resize(size, Image.Resampling.LANCZOS)
