"""Small WebP pictures beside the library, made when first asked for. They may be deleted at any time."""

from __future__ import annotations

import hashlib
import logging
import os
import uuid
from pathlib import Path

logger = logging.getLogger(__name__)

SIDE = 256


def thumbnail(picture: Path, folder: Path) -> str:
    """The path of a WebP of at most SIDE x SIDE pixels in `folder`; empty when the picture can't be read. Its
    name follows from the picture's place, size and time, so a changed picture gets another one."""
    from PIL import Image

    try:
        facts = picture.stat()
        key = f"{picture}|{facts.st_size}|{facts.st_mtime_ns}"
        path = folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.webp"
        if not path.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            unfinished = folder / f".{uuid.uuid4().hex}.tmp"
            with Image.open(picture, formats=["PNG", "JPEG", "WEBP"]) as image:
                image.thumbnail((SIDE, SIDE))
                image.convert("RGB").save(unfinished, "WEBP", quality=85)
            os.replace(unfinished, path)
        return str(path)
    except (
        OSError,
        ValueError,
        SyntaxError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        logger.warning("no thumbnail of %s: %s", picture.name, error)
        return ""
