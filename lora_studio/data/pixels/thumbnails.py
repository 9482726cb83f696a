"""Thumbnails: small WebP pictures, made when first asked for. They may be deleted at any time."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from pathlib import Path

from lora_studio.errors import DatasetError
from lora_studio.files import replacing
from lora_studio.settings import Settings

logger = logging.getLogger(__name__)

SIDE = 256
LONGEST_NAME = 120
"""Characters of a picture's name that its thumbnail's has in front."""


def thumbnail_folder(picture: Path, settings: Settings) -> Path:
    """The folder of a picture's thumbnail: its own below images, LoRAs or datasets, so that who may see the
    picture can be told by the thumbnail's path (`seen_file`)."""
    top = settings.cache / "thumbnails"
    for name, folder in thumbnail_tops(settings).items():
        if picture.is_relative_to(folder):
            return top / name / picture.parent.relative_to(folder)
    return top / "others"


def thumbnail_tops(settings: Settings) -> dict[str, Path]:
    """The folders whose pictures have thumbnails, by the folder of those."""
    return {
        "images": settings.images,
        "loras": settings.loras,
        "datasets": settings.datasets,
        "edited": settings.edited,
    }


def picture_of(thumbnail: Path, settings: Settings) -> Path | None:
    """The picture of a thumbnail in a folder of `thumbnail_folder`, by its path alone: of a picture with a
    long name only its folder is right."""
    parts = thumbnail.relative_to(settings.cache / "thumbnails").parts
    folder = thumbnail_tops(settings).get(parts[0])
    return folder.joinpath(*parts[1:-1], parts[-1].rsplit(".", 2)[0]) if folder and parts[1:] else None


def thumbnail(picture: Path, folder: Path) -> str:
    """The path of a WebP of at most SIDE x SIDE pixels in `folder`; empty when the picture can't be read. Its
    name follows from the picture's name, place, size and time, so a changed picture gets another one; an
    unreadable picture leaves a mark, and is neither tried nor logged again."""
    from lora_studio.data.pixels.decoding import DAMAGE, decode, opened

    try:
        facts = picture.stat()
        key = f"{picture}|{facts.st_size}|{facts.st_mtime_ns}".encode("utf-8", "surrogateescape")
    except (OSError, ValueError):
        return ""
    front = picture.name if len(picture.name) <= LONGEST_NAME else ""
    path = folder / f"{front}.{hashlib.sha256(key).hexdigest()[:32]}.webp"
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
