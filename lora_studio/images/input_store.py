"""Pictures to redraw and their masks, kept under the SHA-256 sum of their pixels.

A request names them by that sum, so that it is small, can be sent anywhere and says exactly which picture is
meant.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

from lora_studio.access.roles import Role
from lora_studio.access.visitor import Kind, visitor
from lora_studio.errors import ConfigError, DatasetError, StoreError, UnknownFormat
from lora_studio.files import check_room, disk_errors, write_atomically
from lora_studio.parsing.archives import Limits, too_big
from lora_studio.request import GenerateRequest

if TYPE_CHECKING:
    from PIL import Image

QUICK_COMPRESSION = 1
HALF = 128
SUM = re.compile(r"[0-9a-f]{64}")
UNUSED_DAYS = 7.0
SHORTEST_DAYS = 1 / 24
MOST_BYTES = 2_000_000_000
"""Bytes of all kept pictures. Above that, unused ones go sooner."""


def take_in(path: Path, folder: Path, *, mask: bool = False) -> str:
    """Check a picture file, write it anew as PNG into `folder` and return its sum: upright, no metadata,
    white where it was transparent. A mask becomes black and white; one with transparent parts, as a layer of
    a drawing program, is white where something is drawn. Raises UnknownFormat (no picture, or too large),
    StoreError."""
    from lora_studio.data.pixels.sanitize import cleaned_picture

    visitor().needs(Role.CREATOR)
    try:
        with disk_errors(path.name, "read", "Choose it again."):
            if path.stat().st_size > Limits().member_bytes:
                raise too_big(path.name, Limits().member_bytes)
            content = path.read_bytes()
    except DatasetError as error:
        raise UnknownFormat(error.message, error.hint, path=path) from error
    try:
        with cleaned_picture(path.name, content, colours=not mask) as cleaned:
            if not mask:
                return keep(cleaned.image, folder)
            drawn = _drawn(path.name, content) if cleaned.was_transparent else cleaned.image.convert("L")
            return keep(drawn.point(lambda value: 255 if value >= HALF else 0), folder)
    except DatasetError as error:
        raise UnknownFormat(error.message, error.hint, path=path) from error


def keep(picture: Image.Image, folder: Path) -> str:
    """Write a picture (RGB, or L for a mask) into `folder` and return its sum. Raises StoreError."""
    from lora_studio.data.pixels.decoding import sum_of

    digest = sum_of(picture)
    path = _path(digest, folder)
    _mark_used(path)
    if not path.is_file():
        check_room(folder, "The picture")
        buffer = io.BytesIO()
        picture.save(buffer, format="PNG", compress_level=QUICK_COMPRESSION)
        with disk_errors("The picture", f"written to {folder}"):
            write_atomically(path, buffer.getvalue())
    visitor().claims(Kind.INPUT, digest, alone=False)
    return digest


def is_here(digest: object, folder: Path) -> bool:
    """Whether the visitor has taken in the picture of a sum, and it is still there."""
    is_sum = isinstance(digest, str) and bool(SUM.fullmatch(digest))
    return is_sum and _path(str(digest), folder).is_file() and visitor().sees(Kind.INPUT, str(digest))


def picture(digest: str, folder: Path) -> Image.Image:
    """A picture that was taken in. Raises StoreError when it is gone."""
    from PIL import Image

    try:
        if not visitor().sees(Kind.INPUT, digest):
            raise FileNotFoundError(digest)
        with Image.open(_path(digest, folder), formats=["PNG"]) as found:
            found.load()
            _mark_used(_path(digest, folder))
            return found
    except (OSError, ValueError, SyntaxError) as error:
        raise StoreError(
            f"The picture to redraw ({digest[:12]}…) is not on this machine.", "Choose the picture again."
        ) from error


def unused(folder: Path) -> list[Path]:
    """Pictures neither taken in nor drawn from for a week; an hour while all take too much room."""
    days = SHORTEST_DAYS if kept_bytes(folder) > MOST_BYTES else UNUSED_DAYS
    before = time.time() - days * 86_400
    try:
        pictures = [path for path in folder.glob("*.png") if SUM.fullmatch(path.stem)]
        return [path for path in pictures if path.stat().st_mtime < before]
    except OSError:
        return []


def kept_bytes(folder: Path) -> int:
    """Bytes of all kept pictures."""
    try:
        return sum(path.stat().st_size for path in folder.glob("*.png"))
    except OSError:
        return 0


def size_of(request: GenerateRequest, folder: Path) -> tuple[int, int] | None:
    """Width and height of the picture to redraw, or None. Raises ConfigError (mask alone), StoreError."""
    if not request.image:
        if request.mask_image:
            raise ConfigError(
                "There is a mask, but no picture that it belongs to.",
                "Give the picture, or leave the mask out.",
                field="mask_image",
            )
        return None
    return picture(request.image, folder).size


def _path(digest: str, folder: Path) -> Path:
    return folder / f"{digest}.png"


def _mark_used(path: Path) -> None:
    """Set a picture's time of use for `unused`. A file that is missing or can't be marked is no matter."""
    with contextlib.suppress(OSError):
        os.utime(path)


def _drawn(file: str, content: bytes) -> Image.Image:
    """The alpha channel of a layer, upright, in grey: the places that it covers."""
    from lora_studio.data.pixels.decoding import opacity, opened

    with opened(file, content) as layer:
        covered = opacity(file, layer)
    assert covered is not None
    return covered
