"""One uploaded picture: judged by its content, not its name, and brought into the one form that is kept."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass

from PIL import Image, ImageOps

from lora_studio.errors import DatasetError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
MOST_PIXELS = 40_000_000
LEAST_SIDE = 32
WANTED = "Use PNG, JPEG, WebP or BMP pictures."
OTHER_KINDS = (
    (0, b"GIF8", "a GIF"),
    (0, b"II*\0", "a TIFF picture"),
    (0, b"MM\0*", "a TIFF picture"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"%PDF", "a PDF"),
    (0, b"Rar!", "a RAR archive"),
    (0, b"7z\xbc\xaf", "a 7z archive"),
    (0, b"PK\x03\x04", "a ZIP archive inside another one"),
    (4, b"ftypavif", "an AVIF picture"),
    (4, b"ftyphei", "a HEIC photo"),
    (4, b"ftypmif1", "a HEIC photo"),
)
# What Pillow's decoders have been seen to raise on damaged files; UserWarning where warnings are made errors.
DAMAGE = (
    *(OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, OverflowError),
    *(struct.error, zlib.error, UserWarning),
)


@dataclass(frozen=True, kw_only=True)
class CleanPicture:
    """Upright RGB without metadata. `was_transparent`: parts are white that were not. `was_animated`: it is
    the first of several pictures."""

    image: Image.Image
    was_transparent: bool
    was_animated: bool


def clean_picture(file: str, content: bytes) -> CleanPicture:
    """Check and decode a picture; `file` is its name for people. Its size is checked before it is decoded.
    Raises DatasetError with the reason in one sentence."""
    if not content:
        raise DatasetError(f"{file} is empty.", path=file)
    try:
        with _open(file, content) as image:
            _check_size(file, image.size)
            return _decode(file, image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(file, "") from error


def _open(file: str, content: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(content), formats=FORMATS)
    except Image.UnidentifiedImageError as error:
        kinds = (kind for at, mark, kind in OTHER_KINDS if content[at : at + len(mark)] == mark)
        kind = next(kinds, "not a picture")
        raise DatasetError(f"{file} is {kind}.", WANTED, path=file) from error
    except DAMAGE as error:
        raise _damaged(file) from error


def _check_size(file: str, size: tuple[int, int]) -> None:
    width, height = size
    if width * height > MOST_PIXELS:
        raise _too_large(file, f", {width} × {height}")
    if min(width, height) < LEAST_SIDE:
        raise DatasetError(
            f"{file} is too small, {width} × {height}: each side needs {LEAST_SIDE} pixels.",
            path=file,
        )


def _decode(file: str, image: Image.Image) -> CleanPicture:
    try:
        image.load()
    except DAMAGE as error:
        raise _damaged(file) from error
    upright = _upright(image)
    transparent = upright.has_transparency_data and _lowest_alpha(upright) < 255
    plain = _over_white(upright) if upright.has_transparency_data else _as_rgb(upright)
    plain.info.clear()
    animated = int(getattr(image, "n_frames", 1)) > 1 and image.format != "MPO"  # phones add a depth map
    return CleanPicture(image=plain, was_transparent=transparent, was_animated=animated)


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except DAMAGE:  # the EXIF block is damaged, the pixels are not
        return image.copy()


def _lowest_alpha(image: Image.Image) -> int:
    lowest = image.convert("RGBA").getchannel("A").getextrema()[0]
    return int(lowest) if isinstance(lowest, int | float) else 255


def _over_white(image: Image.Image) -> Image.Image:
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bit grey
        image = image.convert("I").point(lambda value: value / 256).convert("L")
    return image.convert("RGB")


def _too_large(file: str, measured: str) -> DatasetError:
    return DatasetError(
        f"{file} is too large{measured}: at most {MOST_PIXELS // 1_000_000} megapixels are read.",
        "Scale it down first; neither training nor drawing uses that many.",
        path=file,
    )


def _damaged(file: str) -> DatasetError:
    return DatasetError(f"{file} is damaged or cut off.", "Copy or download it again.", path=file)
