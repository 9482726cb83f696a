"""Augmentation of a picture at each use: another cut, other colours, drawn from a seed alone."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lora_studio.config_groups import DatasetGroup
from lora_studio.data.buckets import Placement, Size
from lora_studio.errors import ConfigError
from lora_studio.parsing.numbers import parse_decimal

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image

COLOUR_SHARE = 1 / 3
HUE_SHIFT = 8 / 180  # of the whole circle
GAMMA = (0.95, 1.05)
FACE_NAME = re.compile(r".*_(\d+)_(\d+)_(\d+)_(\d+)")


@dataclass(frozen=True, kw_only=True)
class Colour:
    """A colour change: `hue` is a turn of the hue in circles, `gamma` an exponent of the brightness."""

    hue: float = 0.0
    gamma: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Face:
    """Centre and size of a face in pixels of the picture."""

    x: int
    y: int
    width: int
    height: int


def changes_at_use(data: DatasetGroup) -> bool:
    """Whether these settings change a picture at each use, mirroring aside."""
    return bool(data.color_aug or data.random_crop or data.face_crop_aug_range)


def face_range(data: DatasetGroup) -> tuple[float, float] | None:
    """Least and greatest size of the cut in sizes of the face; None without it. Raises ConfigError."""
    written = data.face_crop_aug_range
    if not written:
        return None
    sides = [parse_decimal(part) or 0.0 for part in written.strip("()[] ").split(",")]
    least, most = sides if len(sides) == 2 else (0.0, 0.0)
    if not 1 <= least <= most:
        raise ConfigError(
            f"face_crop_aug_range: {written!r} should be two numbers from 1 up, like 2.0,4.0.",
            field="face_crop_aug_range",
        )
    return least, most


def face_in_name(path: Path) -> Face | None:
    """The face in a file name, whose last four numbers are its centre and size; None without."""
    match = FACE_NAME.fullmatch(path.stem)
    if match is None:
        return None
    x, y, width, height = (int(number) for number in match.groups())
    return Face(x=x, y=y, width=width, height=height) if width and height else None


def varied_placement(placement: Placement, data: DatasetGroup, face: Face | None, seed: int) -> Placement:
    """The placement of one use: a cut around the face, a random cut, or the usual one."""
    drawn = random.Random(seed)
    sizes = face_range(data)
    if sizes and face:
        return _around_face(placement, face, sizes, drawn, spread=data.random_crop)
    if not data.random_crop:
        return placement
    resized = placement.resized
    if not data.enable_bucket and all(side >= cut for side, cut in _pairs(placement.original, placement)):
        resized = placement.original
    offset = [drawn.randint(0, side - cut) for side, cut in _pairs(resized, placement)]
    return replace(placement, resized=resized, offset=(offset[0], offset[1]))


def varied_colour(seed: int) -> Colour | None:
    """The colours of one use: None two times of three, else another hue or another brightness."""
    drawn = random.Random(seed)
    if drawn.random() >= COLOUR_SHARE:
        return None
    if drawn.random() < 0.5:
        return Colour(hue=drawn.uniform(-HUE_SHIFT, HUE_SHIFT))
    return Colour(gamma=drawn.uniform(*GAMMA))


def recoloured(image: Image.Image, colour: Colour) -> Image.Image:
    """An RGB picture with its colours changed."""
    if colour.gamma != 1:
        return image.point([round(255 * (value / 255) ** colour.gamma) for value in range(256)] * 3)
    turned = [round(value + 256 * colour.hue) % 256 for value in range(256)]
    same = list(range(256))
    return image.convert("HSV").point([*turned, *same, *same]).convert("RGB")


def _around_face(
    placement: Placement, face: Face, sizes: tuple[float, float], drawn: random.Random, *, spread: bool
) -> Placement:
    """A placement scaled so that the face has its share of the cut, but never enlarged for that; the face in
    the middle as far as the picture reaches. `spread` moves the face away from the middle, near being
    likelier than far."""
    covering = max(cut / side for side, cut in _pairs(placement.original, placement))
    wanted = [min(placement.bucket) / (max(face.width, face.height) * size) for size in sizes]
    least, most = (max(covering, min(1.0, scale)) for scale in (wanted[1], wanted[0]))
    scale = drawn.uniform(least, most)
    resized = [max(cut, int(side * scale + 0.5)) for side, cut in _pairs(placement.original, placement)]
    offset = []
    for side, cut, centre in zip(resized, placement.bucket, (face.x, face.y), strict=True):
        middle = int(centre * scale + 0.5)
        start = middle - cut // 2
        if spread:
            reach = max(side - middle, middle)
            start += drawn.randint(0, reach) + drawn.randint(0, reach) - reach
        offset.append(max(0, min(start, side - cut)))
    return replace(placement, resized=(resized[0], resized[1]), offset=(offset[0], offset[1]))


def _pairs(size: Size, placement: Placement) -> zip[tuple[int, int]]:
    return zip(size, placement.bucket, strict=True)
