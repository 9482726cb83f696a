"""Pictures that say how they were made, in A1111's infotext and in our own JSON: PNG in the text chunks
`parameters` and `lora_studio`, JPEG and WebP in the Exif tags UserComment and MakerNote."""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_studio import __version__
from lora_studio.errors import BrokenFile, ConfigError, UnknownFormat
from lora_studio.files import disk_errors, write_atomically
from lora_studio.images.foreign_request import fit
from lora_studio.images.infotext import Restored, parse_infotext, restore, write_infotext
from lora_studio.parsing.json_text import looks_like_object
from lora_studio.request import GeneratedImage, GenerateRequest

if TYPE_CHECKING:
    from PIL import Image

PARAMETERS = "parameters"
CHUNK = "lora_studio"
CHUNK_VERSION = 1
SOFTWARE = f"LoRA Studio {__version__}"
FORMATS = ("PNG", "JPEG", "WEBP")
SUFFIXES = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}
LOSSY: Mapping[str, Mapping[str, Any]] = {
    "jpeg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    "webp": {"format": "WEBP", "quality": 95, "method": 4},
}
EXIF, USER_COMMENT, MAKER_NOTE = 0x8769, 0x9286, 0x927C
MAKE, MODEL = 0x010F, 0x0110
MOST_TEXTS, LONGEST_TEXT = 100, 1_000_000
MOST_EXIF = 65_000
"""Bytes; a JPEG file has no room for more."""
CODES = {b"UNICODE\0": "utf-16", b"ASCII\0\0\0": "utf-8", b"\0" * 8: "utf-8", b"JIS\0\0\0\0\0": "iso2022_jp"}
"""The first 8 bytes of a UserComment, and the encoding they announce (Exif 2.32, table 9)."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The making of one image. `request` has all values filled in and this image's seed; `prompt` and
    `negative_prompt` (None: the request's) are as drawn; `model` is the base's name without any folder;
    `lora_hashes` maps keys as `WantedLora.key` (a slug, with a checkpoint `<slug>-step<8 digits>`) to SHA-256
    sums of the tensors; `base_state` tells one state of the base's files from another."""

    request: GenerateRequest
    prompt: str
    model: str
    lora_hashes: Mapping[str, str] = field(default_factory=dict)
    negative_prompt: str | None = None
    base_state: str = ""

    @property
    def infotext(self) -> str:
        return write_infotext(
            self.request,
            prompt=self.prompt,
            model=self.model,
            lora_hashes=self.lora_hashes,
            negative_prompt=self.negative_prompt,
        )

    def to_json(self) -> dict[str, Any]:
        """The JSON for the picture. It names the base without a folder: pictures get passed on."""
        request = self.request.model_dump(mode="json")
        return {
            "version": CHUNK_VERSION,
            "software": SOFTWARE,
            "request": {**request, "base": self.model},
            "prompt": self.prompt,
            "negative_prompt": self.negative_prompt,
            "lora_hashes": dict(self.lora_hashes),
            "base_state": self.base_state,
        }


def save_image(picture: Image.Image, folder: Path, origin: Origin) -> GeneratedImage:
    """Write `folder`/<date>/<time>-<seed>-<hash>.png (.jpg, .webp) whole, or nothing. Raises StoreError."""
    form = origin.request.image_format
    data = picture_bytes(picture, {PARAMETERS: origin.infotext, CHUNK: json.dumps(origin.to_json())}, form)
    path = write_picture(data, folder, str(origin.request.seed), SUFFIXES[form])
    return GeneratedImage(
        path=str(path),
        width=picture.width,
        height=picture.height,
        seed=origin.request.seed or 0,
        infotext=origin.infotext,
        request=origin.request,
    )


def write_picture(data: bytes, folder: Path, name: str, suffix: str) -> Path:
    """Write `folder`/<date>/<time>-<name>-<hash><suffix>. Raises StoreError."""
    now = datetime.now()
    digest = hashlib.sha256(data).hexdigest()[:8]
    path = folder / f"{now:%Y-%m-%d}" / f"{now:%H%M%S}-{name}-{digest}{suffix}"
    with disk_errors("The picture", f"written to {folder}"):
        write_atomically(path, data)
    return path


def read_request(path: Path | str) -> GenerateRequest:
    """The request of a picture, by our JSON or another program's settings. Raises as `read_settings`."""
    return read_settings(path).request


def read_settings(path: Path | str) -> Restored:
    """The request that a picture was made with, and sentences on what couldn't be taken over.

    Raises BrokenFile for a file that is no readable picture, UnknownFormat for one without settings.
    """
    path = Path(path)
    chunks = read_chunks(path)
    request = _request_from_json(chunks.get(CHUNK, ""))
    if request is not None:
        return Restored(request=request)
    from lora_studio.images.foreign_settings import read_foreign  # late: the page's start needs none of them

    written = chunks.get(PARAMETERS, "")
    # Some programs leave ComfyUI's graph beside A1111's line, which says all that was asked for.
    found = None if parse_infotext(written).settings else read_foreign(chunks)
    if found is not None:
        filled, notes = fit(found.values)
        return Restored(request=filled, notes=(*found.notes, *notes), program=found.program)
    if written.strip() and not looks_like_object(written):
        return restore(written)
    raise UnknownFormat(
        f"{path.name} has no settings in it that can be read.",
        "Take a picture as it was saved here, in A1111, Forge, ComfyUI, SwarmUI, Fooocus, InvokeAI, or in "
        "another program that keeps them: many sites and messengers drop settings.",
        path=path,
    )


def read_origin(path: Path | str) -> dict[str, Any]:
    """The JSON in a picture, as `Origin.to_json` wrote it; empty where there is none. Raises BrokenFile."""
    try:
        found = json.loads(read_chunks(path).get(CHUNK, ""))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def read_chunks(path: Path | str) -> dict[str, str]:
    """The texts in a PNG, JPEG or WebP by a PNG's names of chunks; no pixel is decoded. Raises BrokenFile."""
    from PIL import Image

    from lora_studio.data.pixels.decoding import turn

    path = Path(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged Exif data of other programs: what can be read is enough
            with Image.open(path, formats=list(FORMATS)) as picture, turn(picture.size):
                texts = _plain_texts(picture)
                return texts | {key: text for key, text in _exif_texts(picture).items() if key not in texts}
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise BrokenFile(
            f"{path.name} is no readable PNG, JPEG or WebP.", "Choose another picture.", path=path
        ) from error


def picture_bytes(picture: Image.Image, texts: Mapping[str, str], form: str = "png") -> bytes:
    """The file of a picture with `texts`: `parameters`, and our JSON. `form` is its `image_format`."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    buffer = io.BytesIO()
    if form == "png":
        info = PngInfo()
        for key, text in texts.items():
            info.add_text(key, text)
        picture.save(buffer, format="PNG", pnginfo=info)
        return buffer.getvalue()
    exif = Image.Exif()
    exif[EXIF] = {
        # Big-endian without a mark, as A1111 writes and most readers expect it.
        USER_COMMENT: b"UNICODE\0" + texts.get(PARAMETERS, "").encode("utf-16-be"),
        MAKER_NOTE: _short_json(texts.get(CHUNK, "")),
    }
    if sum(map(len, exif[EXIF].values())) > MOST_EXIF:
        del exif[EXIF][MAKER_NOTE]  # the infotext alone says nearly as much
    picture.convert("RGB").save(buffer, exif=exif, **LOSSY[form])
    return buffer.getvalue()


def _short_json(text: str) -> bytes:
    """JSON with letters of all alphabets unescaped, in half the bytes or less."""
    return json.dumps(json.loads(text), ensure_ascii=False).encode() if text else b""


def _plain_texts(picture: Image.Image) -> dict[str, str]:
    """The texts beside the pixels by their keys, cut to the length that settings take."""
    found: dict[str, str] = {}
    for key, value in list(picture.info.items())[:MOST_TEXTS]:
        if isinstance(value, bytes) and key in ("xmp", "comment"):
            value = value[:LONGEST_TEXT].decode("utf-8", "replace")
        if isinstance(value, str):
            found[str(key)] = value[:LONGEST_TEXT]
    return found


def _exif_texts(picture: Image.Image) -> dict[str, str]:
    exif = picture.getexif()
    tags = exif.get_ifd(EXIF)
    comment, note = tags.get(USER_COMMENT, exif.get(USER_COMMENT, b"")), tags.get(MAKER_NOTE, b"")
    comment = _comment(comment[:LONGEST_TEXT]) if isinstance(comment, bytes) else str(comment)[:LONGEST_TEXT]
    texts: dict[str, str] = {}
    if isinstance(note, bytes) and note.startswith(b"{"):
        texts[CHUNK] = note[:LONGEST_TEXT].decode("utf-8", "replace")
    for tag in (MAKE, MODEL):  # ComfyUI in WebP: "prompt:{...}"; SwarmUI's first versions: "{...}"
        name, mark, json_text = str(exif.get(tag, ""))[:LONGEST_TEXT].partition("{")
        if mark and name in ("", "prompt:", "Prompt:"):
            texts[name.removesuffix(":").lower() or PARAMETERS] = mark + json_text
    if "Steps:" in comment or comment.lstrip().startswith("{"):  # not a camera's or a person's own comment
        texts[PARAMETERS] = comment
    return texts


def _comment(data: bytes) -> str:
    """The text of a UserComment. UTF-16 in either order: the right one has more Latin letters."""
    code, text = CODES.get(data[:8]), data[8:]
    if code is None:
        return data.decode("utf-8", "replace").strip("\0")
    if code != "utf-16":
        return text.decode(code, "replace").strip("\0")
    readings = [text.decode(name, "replace") for name in ("utf-16-be", "utf-16-le")]
    return max(readings, key=lambda reading: sum(letter < "\u0100" for letter in reading)).strip("\0\ufeff")


def _request_from_json(text: str) -> GenerateRequest | None:
    """The request in our chunk, without fields of later versions; None where it is missing or not ours."""
    try:
        values = json.loads(text)["request"]
        return GenerateRequest(
            **{key: value for key, value in values.items() if key in GenerateRequest.model_fields}
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, ConfigError):
        return None
