"""From a picture file to pixels: decoded, upright, in RGB, scaled and cut to its bucket."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy
from PIL import Image, ImageOps

from lora_studio.data.buckets import Placement
from lora_studio.data.cleaning import DAMAGE
from lora_studio.errors import DatasetError

if TYPE_CHECKING:
    import torch


def open_picture(path: Path) -> Image.Image:
    """Fully decoded, turned as its EXIF says, RGB with anything transparent laid over white. Raises
    DatasetError."""
    try:
        with Image.open(path) as file:
            file.load()
            return _as_rgb(ImageOps.exif_transpose(file))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DatasetError(f"{path.name} has too many pixels.", "Scale it down first.", path=path) from error
    except DAMAGE as error:
        raise DatasetError(
            f"{path.name} can't be read as a picture: it is damaged or of another kind.",
            "Open it in a picture program and save it again, or remove it.",
            path=path,
        ) from error


def fit(image: Image.Image, placement: Placement) -> Image.Image:
    """Scale and cut in one go. Shrinking averages areas; anything else takes Lanczos, as Kohya's trainer
    does."""
    (width, height), (wide, high) = image.size, placement.resized
    left, top = placement.corner
    right, bottom = left + placement.bucket[0], top + placement.bucket[1]
    shrinks = wide < width and high < height
    return image.resize(
        placement.bucket,
        Image.Resampling.BOX if shrinks else Image.Resampling.LANCZOS,
        box=(left * width / wide, top * height / high, right * width / wide, bottom * height / high),
    )


def to_pixels(image: Image.Image, *, mirrored: bool = False) -> torch.Tensor:
    """[3, h, w] in -1..1, 32 bit."""
    import torch

    array = numpy.asarray(image, dtype=numpy.float32) / 127.5 - 1.0
    pixels = torch.from_numpy(array).permute(2, 0, 1)
    return (pixels.flip(2) if mirrored else pixels).contiguous()


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        image = image.point(lambda value: value / 256).convert("L")
    if image.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")
