"""The library's record of a picture, read from its file."""

from __future__ import annotations

from pathlib import Path

from lora_studio.errors import StudioError, UnknownFormat
from lora_studio.files import sha256
from lora_studio.images.image_metadata import FORMATS, read_request
from lora_studio.records import ImageRecord
from lora_studio.request import GenerateRequest


def image_record(path: Path, request: GenerateRequest | None = None) -> ImageRecord:
    """The record of a picture; `request` is read from the file when None, and may be missing there. Raises
    UnknownFormat for a file that is no picture."""
    from PIL import Image

    try:
        with Image.open(path, formats=list(FORMATS)) as picture:
            width, height = picture.size
        digest = sha256(path)
        created_at = path.stat().st_mtime
    except (
        *(OSError, ValueError, SyntaxError),
        *(Image.DecompressionBombError, Image.DecompressionBombWarning),
    ) as error:
        raise UnknownFormat(f"It is no picture: {error}", path=path) from error
    request = request or request_in(path)
    return ImageRecord(
        id=digest,
        path=str(path),
        thumbnail="",
        prompt=request.prompt if request else "",
        seed=(request.seed or 0) if request else 0,
        width=width,
        height=height,
        created_at=created_at,
        lora_slugs=tuple(use.slug for use in request.loras) if request else (),
        request=request.model_dump(mode="json") if request else {},
    )


def request_in(path: Path) -> GenerateRequest | None:
    """The request that a picture was drawn from; None where it says none."""
    try:
        return read_request(path)
    except StudioError:
        return None
