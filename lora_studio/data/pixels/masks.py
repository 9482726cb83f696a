"""Masks beside their pictures, by the names that other programs give them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import Image, ImageChops

ENDING = "-masklabel"
"""Ending of OneTrainer's masks, and of masks that we keep: no picture is called so."""
LIKELY = ("_mask", "-mask", ".mask")
"""Endings of other programs' masks. A picture may have them, too: a mask is grey."""
FOLDERS = {"mask", "masks"}
SHAPE_TOLERANCE = 0.02


def is_mask(stem: str) -> bool:
    """Whether the name alone makes a file a mask."""
    return stem.lower().endswith(ENDING)


def owner_stem(parts: Sequence[str]) -> str | None:
    """The name, without ending and in small letters, of the picture that a file would be the mask of; None
    for a path (inside of the upload) that is no mask's."""
    stem = Path(parts[-1]).stem.casefold()
    for ending in (ENDING, *LIKELY):
        if stem.endswith(ending) and stem != ending:
            return stem.removesuffix(ending)
    return stem if len(parts) > 1 and parts[-2].lower() in FOLDERS else None


def looks_like_a_mask(image: Image.Image) -> bool:
    """Whether an RGB picture is grey throughout."""
    red, green, blue = image.split()
    return all(ImageChops.difference(red, other).getbbox() is None for other in (green, blue))


def same_shape(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether proportions differ by no more than rounding explains."""
    return abs(size[0] * other[1] / (size[1] * other[0]) - 1) <= SHAPE_TOLERANCE


def masks_among(files: Iterable[Path]) -> dict[Path, Path]:
    """The masks among the picture files of a folder, with the picture that each belongs to. A file whose name
    a picture may have, too, is a mask if it is grey."""
    files = list(files)
    owners: dict[str, Path] = {}
    for path in files:
        if not is_mask(path.stem):
            owners.setdefault(path.stem.casefold(), path)
    found = {}
    for path in files:
        owner = owners.get(owner_stem((path.name,)) or "")
        if owner is not None and owner != path and (is_mask(path.stem) or is_grey(path)):
            found[path] = owner
    return found


def is_grey(path: Path) -> bool:
    """Whether a picture file is grey throughout, as a mask is; False if it can't be read."""
    from lora_studio.data.pixels.decoding import decode, opened
    from lora_studio.errors import DatasetError

    try:
        with opened(path.name, path) as image:
            return looks_like_a_mask(decode(path.name, image, colours=False).image)
    except DatasetError:
        return False
