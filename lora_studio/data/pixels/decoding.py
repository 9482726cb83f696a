"""The one place where picture files are opened: checked before they are decoded, large ones one at a time,
and turned into upright RGB in sRGB, white where transparent."""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import ExifTags, Image, ImageOps, TiffImagePlugin

from lora_studio.data.pixels.colour_profiles import STRIP, Colours, Profile, profile_of, to_srgb
from lora_studio.data.pixels.heic import with_heic
from lora_studio.errors import DatasetError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "HEIF")
WANTED = "Use PNG, JPEG, WebP, AVIF, TIFF, GIF or BMP pictures."
MOST_PIXELS = 89_000_000
"""Pixels of one picture, wherever it comes from; Pillow's own measure."""
LARGE_PIXELS = 4_000_000
MOST_FILE_BYTES = 400_000_000
OTHER_KINDS = (
    (0, b"8BPS", "a Photoshop file"),
    (0, b"%PDF", "a PDF"),
    (0, b"Rar!", "a RAR archive"),
    (0, b"7z\xbc\xaf", "a 7z archive"),
    (0, b"PK\x03\x04", "a ZIP archive inside another one"),
    (0, b"\xff\x0a", "a JPEG XL picture"),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL picture"),
    (4, b"ftypcrx", "a camera's raw picture"),
    (4, b"ftypisom", "a film"),
    (4, b"ftypmp4", "a film"),
    (4, b"ftypqt", "a film"),
    (0, b"\x1aE\xdf\xa3", "a film"),
    (4, b"ftyphe", "a HEIC photo"),
    (4, b"ftypmif1", "a HEIC photo"),
)
NO_HEIC = "Install what reads them (pip install pillow-heif), or let the phone export JPEG."
# Exceptions seen from Pillow's decoders on damaged files; UserWarning where warnings are made errors.
DAMAGE = (
    *(OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, OverflowError),
    *(struct.error, zlib.error, UserWarning, RuntimeError, MemoryError, ZeroDivisionError, AttributeError),
)
BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)
PNG_MARK = b"\x89PNG\r\n\x1a\n"
TEXTS = {b"tEXt", b"zTXt", b"iTXt"}
TILE_WIDTH, TILE_LENGTH = 322, 323
JPEG_SEGMENT = re.compile(rb"\xff([^\x00\x01\xd0-\xd8\xff])")
SCAN_OF_JPEG, END_OF_JPEG = b"\xda", b"\xd9"
MOST_SCANS = 100
"""Scans of a progressive JPEG at most; the usual number is some ten."""

# Above Pillow's measure there is a sentence from us, not a line on the terminal.
warnings.simplefilter("error", Image.DecompressionBombWarning)
_turn = threading.RLock()


@dataclass(frozen=True, kw_only=True)
class Plain:
    """A decoded picture, upright RGB without metadata. `was_transparent`: transparent parts became white
    (or stayed, where `decode` was asked to keep them: then it is RGBA);
    `was_animated`: it is the first of several pictures; `colours`: the treatment of its colour profile."""

    image: Image.Image
    was_transparent: bool
    was_animated: bool
    colours: Colours


@contextlib.contextmanager
def turn(size: tuple[int, int]) -> Iterator[None]:
    """Hold the turn of large pictures inside the block: one at a time in this process, so that many at once
    need no more memory than one. Small pictures don't wait."""
    with _turn if size[0] * size[1] > LARGE_PIXELS else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def opened(file: str, source: Path | bytes, *, most_pixels: int = MOST_PIXELS) -> Iterator[Image.Image]:
    """A picture that is not decoded yet; `file` is its name for people. Inside the block a large picture has
    its turn. Raises DatasetError with the reason in one sentence."""
    with _open(file, source, most_pixels) as image:
        check_pixels(file, image.size, most_pixels)
        _check_tiles(file, image, most_pixels)
        if isinstance(source, bytes) and image.format in {"JPEG", "MPO"}:
            _check_scans(file, source)
        with turn(image.size):
            yield image


def decode(file: str, image: Image.Image, *, colours: bool = True, flat: bool = True) -> Plain:
    """The pixels of an opened picture, which is closed; without `colours` the profile is ignored, as masks
    want it; without `flat` a transparent one is not laid over white. No more than about two copies are held
    at once. Raises DatasetError."""
    try:
        image.load()
        animated = bool(getattr(image, "is_animated", False)) and image.format != "MPO"  # phones: depth maps
        profile = profile_of(image)
        if not colours and image.mode != "LAB":
            profile = Profile(colours="srgb", mode=profile.mode)
        converted = to_srgb(_eight_bits(_upright(image)), profile)
        transparent = converted.mode == "RGBA" and _lowest(converted.getchannel("A")) < 255
        keeps_alpha = transparent and not flat
        result = _over_white(converted) if converted.mode == "RGBA" and not keeps_alpha else converted
        result = result.copy() if result is image else result
        result.info.clear()
        image.close()
    except DAMAGE as error:
        raise damaged(file) from error
    return Plain(image=result, was_transparent=transparent, was_animated=animated, colours=profile.colours)


def opacity(file: str, image: Image.Image) -> Image.Image | None:
    """The alpha channel of a picture, grey and upright; None without transparency. Raises DatasetError."""
    if not image.has_transparency_data:
        return None
    try:
        image.load()
        return _upright(image).convert("RGBA").getchannel("A")
    except DAMAGE as error:
        raise damaged(file) from error


def sum_of(image: Image.Image) -> str:
    """The SHA-256 sum of a picture's mode, size and pixels."""
    found = hashlib.sha256(f"{image.mode} {image.width} {image.height} ".encode())
    for top in range(0, image.height, STRIP):  # all of it at once would be one more copy
        found.update(image.crop((0, top, image.width, min(image.height, top + STRIP))).tobytes())
    return found.hexdigest()


def check_pixels(file: str, size: tuple[int, int], most: int) -> None:
    """Refuse a picture of more than `most` pixels. Raises DatasetError."""
    if size[0] * size[1] > most:
        raise too_large(file, f", {size[0]} × {size[1]}", most)


def too_large(file: str, measured: str, most: int) -> DatasetError:
    return DatasetError(
        f"{file} is too large{measured}: at most {most // 1_000_000} megapixels are read.",
        "Scale it down first; neither training nor drawing uses that many.",
        path=file,
    )


def damaged(file: str) -> DatasetError:
    return DatasetError(f"{file} is damaged or cut off.", "Copy or download it again.", path=file)


def turned_size(image: Image.Image) -> tuple[int, int]:
    """Width and height of an opened picture once it is upright."""
    lies = orientation(image) >= 5
    # Pillow tells the upright size of a TIFF picture from the start.
    return (image.height, image.width) if lies and image.format != "TIFF" else image.size


def orientation(image: Image.Image) -> int:
    """Exif's orientation, 1 to 8; 1 if unreadable. Where a PNG has it behind its pixels, they are decoded."""
    try:
        if image.format == "PNG" and "exif" not in image.info and not _says_more_at_its_end(image):
            found = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
        else:
            found = image.getexif().get(ExifTags.Base.Orientation, 1)
    except DAMAGE:
        return 1
    return found if isinstance(found, int) else 1


def _open(file: str, source: Path | bytes, most_pixels: int) -> Image.Image:
    try:
        content = source if isinstance(source, bytes) else None
        try:
            return _image(source)
        except ValueError:
            # More text in it than Pillow reads, as whole workflows are: the pixels are there all the same.
            if content is None and isinstance(source, Path) and source.stat().st_size <= MOST_FILE_BYTES:
                content = source.read_bytes()
            if not content or not content.startswith(PNG_MARK):
                raise
            return _image(_without_texts(content))
    except BOMBS as error:
        raise too_large(file, "", most_pixels) from error
    except Image.UnidentifiedImageError as error:
        raise _other_kind(file, source) from error
    except OSError as error:
        if error.errno and isinstance(source, Path):
            raise DatasetError(f"{file} can't be read: {error.strerror}.", path=file) from error
        raise damaged(file) from error
    except DAMAGE as error:
        raise damaged(file) from error


def _image(source: Path | bytes) -> Image.Image:
    given = io.BytesIO(source) if isinstance(source, bytes) else source
    image = Image.open(given, formats=[name for name in FORMATS if name != "HEIF" or with_heic()])
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        image.filename = ""  # by its name Pillow would map the file into rows of the size once it is upright
    return image


def _other_kind(file: str, source: Path | bytes) -> DatasetError:
    if isinstance(source, bytes):
        head = source[:16]
    else:
        with source.open("rb") as opened_file:
            head = opened_file.read(16)
    kinds = (kind for at, mark, kind in OTHER_KINDS if head[at : at + len(mark)] == mark)
    kind = next(kinds, "not a picture")
    if "HEIC" in kind and with_heic():
        return damaged(file)
    return DatasetError(f"{file} is {kind}.", NO_HEIC if "HEIC" in kind else WANTED, path=file)


def _check_tiles(file: str, image: Image.Image, most: int) -> None:
    """Refuse a TIFF with a too large tile, which may be far larger than the picture."""
    tags = getattr(image, "tag_v2", None)
    if tags is None:
        return
    try:
        width, length = int(tags.get(TILE_WIDTH, 1)), int(tags.get(TILE_LENGTH, 1))
    except DAMAGE as error:
        raise damaged(file) from error
    check_pixels(file, (width, length), most)


def _check_scans(file: str, content: bytes) -> None:
    """Refuse a progressive JPEG of too many scans: each decodes it once, and may have few bytes."""
    at, scans = 2, 0
    while (match := JPEG_SEGMENT.search(content, at)) and match[1] != END_OF_JPEG:
        scans += match[1] == SCAN_OF_JPEG
        length = content[match.end() : match.end() + 2]
        at = match.end() + int.from_bytes(length, "big")
        if scans > MOST_SCANS:
            raise DatasetError(
                f"{file} is drawn in more than {MOST_SCANS} passes, as no picture is.",
                "Save it again.",
                path=file,
            )


def _upright(image: Image.Image) -> Image.Image:
    with contextlib.suppress(*DAMAGE):  # where the Exif block is damaged, the pixels are not
        if orientation(image) > 1:
            ImageOps.exif_transpose(image, in_place=True)
    return image


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return image.convert("I").point(lambda value: value / 256).convert("L")
    return image


def _lowest(alpha: Image.Image) -> int:
    lowest = alpha.getextrema()[0]
    return int(lowest) if isinstance(lowest, int | float) else 255


def _over_white(image: Image.Image) -> Image.Image:
    result = Image.new("RGB", image.size)
    for top in range(0, image.height, STRIP):
        strip = image.crop((0, top, image.width, min(image.height, top + STRIP)))
        white = Image.new("RGBA", strip.size, "white")
        result.paste(Image.alpha_composite(white, strip).convert("RGB"), (0, top))
    return result


def png_chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of each chunk of a PNG, whole chunks only."""
    at = len(PNG_MARK)
    while at + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        end = at + 12 + length
        if end > len(content):
            return
        yield kind, at, end
        at = end


def _without_texts(content: bytes) -> bytes:
    kept = [content[start:end] for kind, start, end in png_chunks(content) if kind not in TEXTS]
    return b"".join([PNG_MARK, *kept])


def _says_more_at_its_end(image: Image.Image) -> bool:
    """Whether a PNG has Exif or texts behind its pixels. The position in its file stays."""
    file = getattr(image, "fp", None)
    if file is None:
        return True
    before = file.tell()
    try:
        file.seek(len(PNG_MARK))
        pixels = False
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if pixels and (kind in TEXTS or kind == b"eXIf"):
                return True
            if kind == b"IEND":
                return False
            pixels = pixels or kind == b"IDAT"
            file.seek(length + 4, io.SEEK_CUR)
        return False
    finally:
        file.seek(before)
