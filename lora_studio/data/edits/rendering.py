"""Edited pictures as files: lossless PNGs in a cache, found by the content of the originals and the edits."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import PIL
from PIL import Image, ImageOps

from lora_studio.data.edits.picture_edits import (
    CropPicture,
    FlattenPicture,
    PixelEdit,
    RotatePicture,
    edit_dict,
)
from lora_studio.data.pixels.decoding import PNG_MARK, decode, opened
from lora_studio.data.pixels.masks import ENDING, same_shape
from lora_studio.data.pixels.picture_pixels import mask_of, upright_size
from lora_studio.errors import DatasetError
from lora_studio.files import check_room, disk_errors, read_errors, replacing, sha256

CLOCKWISE = {90: Image.Transpose.ROTATE_270, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_90}
"""Pillow turns the other way round."""
MOST_BYTES = 8 * 2**30
A_DAY = 24 * 3600
SPARED_DAYS = 7
"""Days after their last use for which edited pictures stay, however much room they take: a training that was
given them, here or in another process, may read them to its end."""
PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
MOST_SUMS = 20_000
"""Originals whose sums are kept in memory, some 200 bytes each."""
RECIPE = 1
"""A number that goes up when the same edits give other pixels."""


class PictureFiles(NamedTuple):
    """A picture with the mask that weighs its places, if it has one."""

    picture: Path
    mask: Path | None = None


def rendered(originals: PictureFiles, edits: Sequence[PixelEdit], cache: Path) -> PictureFiles:
    """The edited picture and mask, made when first asked for, in a folder of `cache` that follows from their
    content. Both have the picture's name, with `.png` and the ending of masks. Raises DatasetError, and
    StoreError where they can't be written."""
    picture, mask = originals
    with read_errors(picture, DatasetError):
        sums = [_sum_of_file(file) if file else "" for file in originals]
    recipe = [RECIPE, sums, [edit_dict(edit) | {"picture": ""} for edit in edits]]
    key = hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:32]
    folder = cache / f"{key}-{PIL.__version__}"
    made = PictureFiles(
        picture=folder / f"{picture.stem}.png", mask=folder / f"{picture.stem}{ENDING}.png" if mask else None
    )
    if not _is_kept(made.picture):
        with opened(picture.name, picture) as image:
            _write(made.picture, edited(decode(picture.name, image, flat=False).image, edits))
    if mask and made.mask and not _is_kept(made.mask):
        _write(made.mask, edited(_whole_mask(picture, mask), edits))
    return made


def edited_content(path: Path, cache: Path) -> str:
    """The sum of the pixels of an edited file in `cache`, whichever Pillow wrote it; else empty."""
    return path.parent.name.partition("-")[0] if path.is_relative_to(cache) else ""


def make_room_for_edited(cache: Path, most_bytes: int = MOST_BYTES) -> None:
    """Remove the edited pictures that were used longest ago until all take no more than `most_bytes`, but
    none that was used in the last days. To be called before pictures are rendered, not after."""
    found = []
    for folder in cache.glob("*/*"):
        with contextlib.suppress(OSError):
            taken = sum(path.stat().st_size for path in folder.iterdir())
            found.append((folder.stat().st_mtime, taken, folder))
    excess = sum(taken for _, taken, _ in found) - most_bytes
    for used, taken, folder in sorted(found):
        if excess <= 0 or time.time() - used < SPARED_DAYS * A_DAY:
            return
        with contextlib.suppress(OSError):
            if folder.stat().st_mtime == used:  # else somebody has begun to use it
                shutil.rmtree(folder)
                excess -= taken


def edited(image: Image.Image, edits: Iterable[PixelEdit]) -> Image.Image:
    """A picture in RGB or RGBA, or a mask in L, after edits. Raises DatasetError for a crop outside of it."""
    for edit in edits:
        if isinstance(edit, CropPicture):
            check_crop(edit, image.size)
            image = image.crop((edit.left, edit.top, edit.right, edit.bottom))
        elif isinstance(edit, RotatePicture):
            image = image.transpose(CLOCKWISE[edit.degrees])
        elif isinstance(edit, FlattenPicture):
            image = _over(image, edit.background) if image.mode == "RGBA" else image
        else:
            image = ImageOps.mirror(image)
    return image


def edited_size(size: tuple[int, int], edits: Iterable[PixelEdit]) -> tuple[int, int]:
    """Width and height of a picture of this size after edits."""
    for edit in edits:
        if isinstance(edit, CropPicture):
            size = edit.right - edit.left, edit.bottom - edit.top
        elif isinstance(edit, RotatePicture) and edit.degrees != 180:
            size = size[1], size[0]
    return size


def check_crop(edit: CropPicture, size: tuple[int, int]) -> None:
    """Refuse a crop that is empty or reaches beyond a picture of this size. Raises DatasetError."""
    width, height = size
    if not (0 <= edit.left < edit.right <= width and 0 <= edit.top < edit.bottom <= height):
        raise DatasetError(
            f"The crop of {edit.picture} doesn't lie inside of it.", f"It has {width} × {height} pixels."
        )


def _sum_of_file(path: Path) -> str:
    """The SHA-256 of a file, read again only when it has changed: pages ask for each picture of a set."""
    facts = path.stat()
    return _known_sum(path, (facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns))


@functools.lru_cache(maxsize=MOST_SUMS)
def _known_sum(path: Path, _facts: tuple[int, ...]) -> str:
    return sha256(path)


def _whole_mask(picture: Path, mask: Path) -> Image.Image:
    """A mask in the size of its picture. Raises DatasetError."""
    found, size = mask_of(picture, mask), upright_size(picture)
    assert found is not None
    if not same_shape(found.size, size):
        raise DatasetError(f"The mask {mask.name} has another shape than its picture.", path=mask)
    return found if found.size == size else found.resize(size)


def _over(image: Image.Image, background: str) -> Image.Image:
    """A transparent picture over a colour."""
    result = Image.new("RGB", image.size, background)
    result.paste(image, mask=image.getchannel("A"))
    return result


def _is_kept(path: Path) -> bool:
    """Whether a whole file is there, and not what a power cut left of one. That it is used is told by the
    time of its folder; its own stays, since the thumbnail follows from it."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        begin = file.read(len(PNG_MARK))
        file.seek(-len(PNG_END), os.SEEK_END)
        if (begin, file.read()) == (PNG_MARK, PNG_END):
            if time.time() - path.parent.stat().st_mtime > A_DAY:
                os.utime(path.parent)
            return True
    return False


def _write(path: Path, image: Image.Image) -> None:
    check_room(path.parent, f"The edited {path.name}")
    with disk_errors(f"The edited {path.name}", "written"), replacing(path) as file:
        image.save(file, "PNG", compress_level=1)
