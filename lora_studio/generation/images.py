"""PNG files that say how they were made, in A1111's `parameters` chunk and in our own JSON
(`lora_studio`)."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_studio import __version__
from lora_studio.errors import BrokenFile, ConfigError, StoreError, UnknownFormat
from lora_studio.generation.infotext import request_from_infotext, write_infotext
from lora_studio.lora.files import write_atomically
from lora_studio.request import GeneratedImage, GenerateRequest

if TYPE_CHECKING:
    from PIL import Image

PARAMETERS = "parameters"
CHUNK = "lora_studio"
CHUNK_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Origin:
    """How one image was made. `request` has all values filled in and this image's seed; `prompt` is as drawn;
    `model` the base's name without any folder; `lora_hashes` maps slugs to SHA-256 sums of the tensors."""

    request: GenerateRequest
    prompt: str
    model: str
    lora_hashes: Mapping[str, str] = field(default_factory=dict)

    @property
    def infotext(self) -> str:
        return write_infotext(
            self.request, prompt=self.prompt, model=self.model, lora_hashes=self.lora_hashes
        )

    def to_json(self) -> dict[str, Any]:
        """Pictures get passed on, so no folder of this machine goes in: the base is named, not located."""
        request = self.request.model_dump(mode="json")
        return {
            "version": CHUNK_VERSION,
            "software": f"LoRA Studio {__version__}",
            "request": {**request, "base": self.model},
            "prompt": self.prompt,
            "lora_hashes": dict(self.lora_hashes),
        }


def save_image(picture: Image.Image, folder: Path, origin: Origin) -> GeneratedImage:
    """Write `folder`/<date>/<time>-<seed>-<hash>.png, whole or not at all. Raises StoreError."""
    data = _png_bytes(picture, origin)
    now = datetime.now()
    digest = hashlib.sha256(data).hexdigest()[:8]
    name = f"{now:%H%M%S}-{origin.request.seed}-{digest}.png"
    path = folder / f"{now:%Y-%m-%d}" / name
    try:
        write_atomically(path, data)
    except OSError as error:
        raise StoreError(
            f"The picture can't be written to {folder}: {error.strerror or error}.",
            "Free some disk space, or let LORA_STUDIO_HOME name another folder.",
        ) from error
    return GeneratedImage(
        path=str(path),
        width=picture.width,
        height=picture.height,
        seed=origin.request.seed or 0,
        infotext=origin.infotext,
        request=origin.request,
    )


def read_request(path: Path | str) -> GenerateRequest:
    """The request that a picture was made with, from our chunk or else from A1111's.

    Raises BrokenFile for a file that is no readable PNG, UnknownFormat for one without settings, ConfigError
    for settings out of range.
    """
    path = Path(path)
    chunks = read_chunks(path)
    request = _request_from_json(chunks.get(CHUNK, ""))
    if request is not None:
        return request
    if chunks.get(PARAMETERS, "").strip():
        return request_from_infotext(chunks[PARAMETERS])
    raise UnknownFormat(
        f"{path.name} has no settings in it.",
        "Take a PNG as it was saved here, in A1111 or in Forge: many sites and messengers drop settings.",
        path=path,
    )


def read_chunks(path: Path | str) -> dict[str, str]:
    """The text chunks of a PNG; the pixels are not decoded. Raises BrokenFile."""
    from PIL import Image

    path = Path(path)
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            return {str(key): value for key, value in picture.info.items() if isinstance(value, str)}
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise BrokenFile(f"{path.name} is no readable PNG.", "Choose another picture.", path=path) from error


def _png_bytes(picture: Image.Image, origin: Origin) -> bytes:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text(PARAMETERS, origin.infotext)
    info.add_text(CHUNK, json.dumps(origin.to_json()))
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", pnginfo=info)
    return buffer.getvalue()


def _request_from_json(text: str) -> GenerateRequest | None:
    """None for a chunk that is missing or not ours. Fields that a later version added are left out."""
    try:
        values = json.loads(text)["request"]
        return GenerateRequest.build(
            **{key: value for key, value in values.items() if key in GenerateRequest.model_fields}
        )
    except (ValueError, KeyError, TypeError, AttributeError, ConfigError):
        return None
