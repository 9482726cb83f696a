"""Thumbnails: small WebP pictures, made when first asked for. They may be deleted at any time."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from pathlib import Path

from lora_studio.errors import DatasetError
from lora_studio.files import replacing

logger = logging.getLogger(__name__)

SIDE = 256


def thumbnail(picture: Path, folder: Path) -> str:
    """The path of a WebP of at most SIDE x SIDE pixels in `folder`; empty when the picture can't be read. Its
    name follows from the picture's place, size and time, so a changed picture gets another one; an unreadable
    picture leaves a mark, and is neither tried nor logged again."""
    from lora_studio.data.pixels.decoding import DAMAGE, decode, opened

    try:
        facts = picture.stat()
        key = f"{picture}|{facts.st_size}|{facts.st_mtime_ns}".encode("utf-8", "surrogateescape")
    except (OSError, ValueError):
        return ""
    path = folder / f"{hashlib.sha256(key).hexdigest()[:32]}.webp"
    mark = path.with_suffix(".unreadable")
    if path.is_file() or mark.exists():
        return str(path) if path.is_file() else ""
    try:
        with opened(picture.name, picture) as image:
            if image.format == "JPEG":
                image.draft(None, (2 * SIDE, 2 * SIDE))
            small = decode(picture.name, image).image
        small.thumbnail((SIDE, SIDE))
        with replacing(path, lasting=False) as file:
            small.save(file, "WEBP", quality=85)
        return str(path)
    except (*DAMAGE, DatasetError) as error:
        with contextlib.suppress(OSError):
            if not getattr(error.__cause__ or error, "errno", None):  # the picture's fault, not the disk's
                folder.mkdir(parents=True, exist_ok=True)
                mark.touch()
        logger.warning("no thumbnail of %s: %s", picture.name.encode("utf-8", "replace").decode(), error)
        return ""
