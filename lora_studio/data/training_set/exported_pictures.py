"""Pictures and masks as files that sd-scripts sees as a training here does."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from PIL import Image

from lora_studio.data.edits.picture_edits import FlattenPicture
from lora_studio.data.edits.rendering import PictureFiles, make_room_for_edited, rendered
from lora_studio.data.pixels.decoding import decode, opened, orientation
from lora_studio.data.pixels.picture_pixels import upright_size
from lora_studio.data.training_set.folders import Picture
from lora_studio.errors import DatasetError
from lora_studio.events import Emit, PhaseAdvanced, ShouldStop, ignore, never_stop
from lora_studio.parsing.file_names import is_portable, portable_name
from lora_studio.settings import Settings

READ_ELSEWHERE = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
"""Endings that sd-scripts reads without further libraries; other pictures are written as PNG."""
FORMATS_ELSEWHERE = frozenset({"PNG", "JPEG", "MPO", "WEBP", "BMP", "GIF"})
"""Forms that it reads so, whatever a file's ending says."""
LONGEST_END = "-10000.jpeg"
PHASE = "export"


class _SeenPicture(NamedTuple):
    """The size of a picture once it is upright, and whether sd-scripts sees the file as it is here."""

    size: tuple[int, int]
    is_same: bool
    is_transparent: bool


class ReadablePicture(NamedTuple):
    """A picture with the files that sd-scripts is given of it."""

    picture: Picture
    files: PictureFiles


def readable_pictures(
    pictures: Sequence[Picture], should_stop: ShouldStop = never_stop, emit: Emit = ignore
) -> tuple[list[ReadablePicture], list[str]]:
    """Pictures with their files, without those that a training leaves out, and a note on each of these. Emits
    PhaseAdvanced, as the first half of an export. Raises DatasetError where none to train on is left and when
    stopped, StoreError."""
    make_room_for_edited(Settings.from_environment().edited)
    found, notes = list[ReadablePicture](), list[str]()
    for done, picture in enumerate(pictures):
        check_stop(should_stop)
        emit(PhaseAdvanced(phase=PHASE, done=done, total=2 * len(pictures)))
        try:
            found.append(ReadablePicture(picture, readable_files(picture)))
        except DatasetError as error:
            notes.append(f"{error.message} It is left out.")
    if all(one.picture.is_reg for one in found):
        raise DatasetError("None of the pictures can be read.", "Add at least one picture that opens.")
    return found, notes


def readable_files(picture: Picture) -> PictureFiles:
    """The files of a picture and its mask, or PNGs made of them where sd-scripts would see them otherwise: it
    neither turns nor converts pictures, shows what lies below transparent parts, and wants masks of the
    picture's size. Raises DatasetError for what a training leaves out, StoreError."""
    files = PictureFiles(picture.path, picture.mask)
    keeps_alpha = picture.settings.alpha_mask
    seen = _seen(picture.path)
    same = seen.is_same and (keeps_alpha or not seen.is_transparent)
    if picture.mask:
        mask = _seen(picture.mask, colours=False)
        same = same and mask.is_same and not mask.is_transparent and mask.size == seen.size
    if same:
        return files
    edits = [FlattenPicture(picture.path.name, "#ffffff")] if seen.is_transparent and not keeps_alpha else []
    cache = Settings.from_environment().edited / (PurePosixPath(picture.folder).name or "pictures")
    return rendered(files, edits, cache)


def white_mask(picture: Path) -> bytes:
    """A mask, as a PNG, that lets all of a picture count. Raises DatasetError."""
    content = io.BytesIO()
    Image.new("L", upright_size(picture), 255).save(content, "PNG")
    return content.getvalue()


def portable_stem(stem: str) -> str:
    """A picture's name without its ending, as it is where every system can keep it with whatever follows."""
    stays = stem.isprintable() and is_portable(stem) and is_portable(f"{stem}{LONGEST_END}")
    return stem if stays else portable_name(stem, "picture")


def _seen(path: Path, *, colours: bool = True) -> _SeenPicture:
    """A picture, decoded to its end: what its head promises may be cut off. Raises DatasetError."""
    with opened(path.name, path) as image:
        # Without a name it was repaired while it was opened.
        is_read = path.suffix.lower() in READ_ELSEWHERE and image.format in FORMATS_ELSEWHERE
        is_read = is_read and bool(getattr(image, "filename", ""))
        is_same = is_read and orientation(image) == 1 and not image.mode.startswith(("I", "F"))
        plain = decode(path.name, image, colours=colours)
    return _SeenPicture(
        size=plain.image.size,
        is_same=is_same and plain.colours != "converted",
        is_transparent=plain.was_transparent,
    )


def check_stop(should_stop: ShouldStop) -> None:
    """End an export that is to stop. Raises DatasetError."""
    if should_stop():
        raise DatasetError("The export was stopped.", "Nothing of it is kept.")
