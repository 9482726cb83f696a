"""From a picture file to pixels: decoded, upright, in RGB, scaled and cut to its bucket."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy
from PIL import ExifTags, Image, ImageOps

from lora_studio.data.buckets import Placement
from lora_studio.data.cleaning import DAMAGE
from lora_studio.errors import DatasetError

if TYPE_CHECKING:
    import torch


FILTERS = {
    "lanczos": Image.Resampling.LANCZOS,
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "linear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "cubic": Image.Resampling.BICUBIC,
}


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


def upright_size(path: Path) -> tuple[int, int]:
    """Width and height as `open_picture` will give them, from the file's head alone. Raises DatasetError."""
    try:
        with Image.open(path) as file:
            width, height = file.size
            lies = file.getexif().get(ExifTags.Base.Orientation, 1) >= 5
            # Pillow tells the upright size of a TIFF picture from the start.
            return (height, width) if lies and file.format != "TIFF" else (width, height)
    except (*DAMAGE, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return open_picture(path).size  # which says what is wrong


def fit(image: Image.Image, placement: Placement, interpolation: str | None = None) -> Image.Image:
    """Scale and cut in one go. `interpolation` is Kohya's word; without one, shrinking averages areas and
    anything else takes Lanczos, as Kohya's trainer does."""
    (width, height), (wide, high) = image.size, placement.resized
    left, top = placement.corner
    right, bottom = left + placement.bucket[0], top + placement.bucket[1]
    shrinks = wide < width and high < height
    return image.resize(
        placement.bucket,
        _filter(interpolation or ("area" if shrinks else "lanczos"), shrinks=shrinks),
        box=(left * width / wide, top * height / high, right * width / wide, bottom * height / high),
    )


def to_pixels(image: Image.Image, *, mirrored: bool = False) -> torch.Tensor:
    """[3, h, w] in -1..1, 32 bit."""
    import torch

    array = numpy.asarray(image, dtype=numpy.float32) / 127.5 - 1.0
    pixels = torch.from_numpy(array).permute(2, 0, 1)
    return (pixels.flip(2) if mirrored else pixels).contiguous()


def to_mask(image: Image.Image, size_step: int, *, mirrored: bool = False) -> torch.Tensor:
    """[1, h, w] in 0..1: the mean of the `size_step` x `size_step` pixels of each place."""
    import torch

    grey = numpy.asarray(image, dtype=numpy.float32) / 255
    height, width = grey.shape
    places = grey.reshape(height // size_step, size_step, width // size_step, size_step).mean(axis=(1, 3))
    mask = torch.from_numpy(places)[None]
    return (mask.flip(2) if mirrored else mask).contiguous()


def mask_of(picture: Path, mask: Path | None) -> Image.Image | None:
    """What weighs the places of a picture, in grey: the red of the mask picture, or without one how opaque
    the picture itself is; None if it is opaque throughout. Raises DatasetError."""
    if mask is not None:
        return open_picture(mask).getchannel("R")
    with Image.open(picture) as file:
        if not file.has_transparency_data:
            return None
        return ImageOps.exif_transpose(file).convert("RGBA").getchannel("A")


def _filter(word: str, *, shrinks: bool) -> Image.Resampling:
    if word == "area":  # enlarging by area is bilinear in OpenCV
        return Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR
    return FILTERS[word]


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        image = image.point(lambda value: value / 256).convert("L")
    if image.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")
