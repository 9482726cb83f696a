"""Pixels of a picture file: decoded, upright, in RGB, scaled and cut to its bucket."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy
import PIL.features
from PIL import Image

from lora_studio.data.buckets import Placement
from lora_studio.data.pixels.colour_profiles import Colours, profile_of
from lora_studio.data.pixels.decoding import decode, opacity, opened, turned_size

if TYPE_CHECKING:
    import torch


ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".avif", ".gif", ".tif", ".tiff"})
HEIC_ENDINGS = frozenset({".heic", ".heif"})
"""Endings that are read where pillow-heif is installed."""
FILTERS = {
    "lanczos": Image.Resampling.LANCZOS,
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "linear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "cubic": Image.Resampling.BICUBIC,
}


def open_picture(path: Path, *, colours: bool = True) -> Image.Image:
    """A picture decoded, turned as its EXIF says, RGB in sRGB with anything transparent laid over white.
    Without `colours` a profile is ignored. Raises DatasetError."""
    with opened(path.name, path) as image:
        return decode(path.name, image, colours=colours).image


@dataclass(frozen=True, kw_only=True)
class Look:
    """Facts from a picture's head: the size that `open_picture` gives, and how its colours are treated."""

    size: tuple[int, int]
    colours: Colours

    @property
    def mark(self) -> str:
        """A text for cache keys that tells the pixels from those read before colour profiles were; empty
        where both are the same."""
        return f"srgb {PIL.features.version('littlecms2')}" if self.colours == "converted" else ""


def look_at(path: Path) -> Look:
    """The facts in a picture's head, without decoding the picture. Raises DatasetError."""
    with opened(path.name, path) as image:
        return Look(size=turned_size(image), colours=profile_of(image).colours)


def upright_size(path: Path) -> tuple[int, int]:
    """Width and height of `open_picture`, from the file's head alone. Raises DatasetError."""
    return look_at(path).size


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
    """Pixels [3, h, w] in -1..1, 32 bit."""
    import torch

    array = numpy.asarray(image, dtype=numpy.float32) / 127.5 - 1.0
    pixels = torch.from_numpy(array).permute(2, 0, 1)
    return (pixels.flip(2) if mirrored else pixels).contiguous()


def to_mask(image: Image.Image, size_step: int, *, mirrored: bool = False) -> torch.Tensor:
    """A mask [1, h, w] in 0..1: the mean of the `size_step` x `size_step` pixels of each place."""
    import torch

    grey = numpy.asarray(image, dtype=numpy.float32) / 255
    height, width = grey.shape
    places = grey.reshape(height // size_step, size_step, width // size_step, size_step).mean(axis=(1, 3))
    mask = torch.from_numpy(places)[None]
    return (mask.flip(2) if mirrored else mask).contiguous()


def mask_of(picture: Path, mask: Path | None) -> Image.Image | None:
    """The weights of a picture's places, in grey: the red of the mask picture, or without one the picture's
    own alpha channel; None if that is missing too. Raises DatasetError."""
    if mask is not None:
        return open_picture(mask, colours=False).getchannel("R")
    with opened(picture.name, picture) as image:
        return opacity(picture.name, image)


def _filter(word: str, *, shrinks: bool) -> Image.Resampling:
    if word == "area":  # enlarging by area is bilinear in OpenCV
        return Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR
    return FILTERS[word]
