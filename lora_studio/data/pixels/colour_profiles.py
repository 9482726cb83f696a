"""Colour profiles: pictures converted to sRGB, the space of base models and screens."""

from __future__ import annotations

import functools
import io
import struct
from dataclasses import dataclass
from typing import Literal

from PIL import ExifTags, Image, ImageChops, ImageCms

Colours = Literal["srgb", "converted", "unreadable"]

MOST_PROFILE_BYTES = 4_000_000
SAME_WITHIN = 2
"""Levels of 256: sRGB profiles of several makers differ by rounding, and such pictures keep their numbers."""
STRIP = 256
SPACES = {"RGB": "RGB ", "L": "GRAY", "CMYK": "CMYK", "LAB": "Lab "}
CLASSES = {"mntr", "scnr", "prtr", "spac"}
UNCALIBRATED = "R03"
"""Adobe RGB in cameras' pictures without a profile: DCF 2.0, the interoperability index of Exif."""
ADOBE_GAMMA = 563 / 256
ADOBE_PRIMARIES = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
"""X, Y, Z under D50 of red, green and blue: Adobe RGB (1998) Color Image Encoding, 4.3.6.1 and annex C."""
D50 = (0.9642, 1.0, 0.82491)


@dataclass(frozen=True, kw_only=True)
class Profile:
    """A picture's colour space. `transform` leads from pixels of `mode` to sRGB; there is one where `colours`
    is "converted". With "srgb" the numbers are right as they are, with "unreadable" they are taken for
    sRGB."""

    colours: Colours
    mode: str = "RGB"
    transform: ImageCms.ImageCmsTransform | None = None


def profile_of(image: Image.Image) -> Profile:
    """The colour space that a picture's head declares."""
    content = image.info.get("icc_profile")
    mode = {"CMYK": "CMYK", "LAB": "LAB"}.get(image.mode, "L" if _is_grey(image) else "RGB")
    if not content:
        if mode == "LAB":
            return _lab()
        return _adobe() if mode == "RGB" and _says_adobe(image) else Profile(colours="srgb", mode=mode)
    if not isinstance(content, bytes) or len(content) > MOST_PROFILE_BYTES:
        return Profile(colours="unreadable", mode=mode)
    return _profile(content, mode)


def to_srgb(image: Image.Image, profile: Profile) -> Image.Image:
    """The picture as RGB, or as RGBA with its alpha channel unchanged; the same object where there is nothing
    to do. Raises ValueError for a kind of pixels that has no colours."""
    opaque = not image.has_transparency_data
    wanted = "RGB" if opaque else "RGBA"
    if profile.transform is None:
        return image if image.mode == wanted else image.convert(wanted)
    source = image if image.mode == profile.mode else image.convert(_plain_mode(profile.mode, opaque))
    result = Image.new(wanted, image.size)
    for top in range(0, image.height, STRIP):
        strip = source.crop((0, top, image.width, min(image.height, top + STRIP)))
        colours = strip if strip.mode == profile.mode else strip.convert(profile.mode)
        done = ImageCms.applyTransform(colours, profile.transform)
        assert done is not None
        if not opaque:
            done.putalpha(strip.getchannel("A"))
        result.paste(done, (0, top))
    return result


def _plain_mode(mode: str, opaque: bool) -> str:
    """The pixels from which strips are cut."""
    return mode if opaque else {"L": "LA", "RGB": "RGBA"}[mode]


def _is_grey(image: Image.Image) -> bool:
    return image.mode in {"1", "L", "LA", "La"} or image.mode.startswith("I;16")


@functools.lru_cache(maxsize=8)
def _profile(content: bytes, mode: str) -> Profile:
    """An ICC profile for pixels of `mode`. Grey ones with a profile for RGB are RGB, as in browsers."""
    try:
        made = ImageCms.ImageCmsProfile(io.BytesIO(content))
        space, kind = made.profile.xcolor_space, made.profile.device_class
        if mode == "L" and space == SPACES["RGB"]:
            mode = "RGB"
        if space != SPACES[mode] or kind not in CLASSES:
            return Profile(colours="unreadable", mode=mode)
        return _leading_from(made, mode)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return Profile(colours="unreadable", mode=mode)


def _leading_from(made: ImageCms.ImageCmsProfile, mode: str) -> Profile:
    transform = ImageCms.buildTransform(
        made, _srgb(), mode, "RGB", renderingIntent=ImageCms.Intent.PERCEPTUAL
    )
    if mode in {"RGB", "L"} and _changes_little(transform, mode):
        return Profile(colours="srgb", mode=mode)
    return Profile(colours="converted", mode=mode, transform=transform)


def _changes_little(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether a transform changes no colour by more than SAME_WITHIN, tried all over the space."""
    if mode == "L":
        tried = Image.frombytes("L", (16, 16), bytes(range(256)))
    else:
        levels = [*range(0, 256, 17)]
        tried = Image.frombytes("RGB", (64, 64), bytes(v for r in levels for g in levels for b in levels
                                                       for v in (r, g, b)))  # fmt: skip
    done = ImageCms.applyTransform(tried, transform)
    assert done is not None
    extrema = ImageChops.difference(tried.convert("RGB"), done).getextrema()
    return max(high for _, high in extrema) <= SAME_WITHIN  # type: ignore[misc]


@functools.cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


@functools.cache
def _lab() -> Profile:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    return _leading_from(lab, "LAB")


@functools.cache
def _adobe() -> Profile:
    return _profile(matrix_profile(ADOBE_PRIMARIES, ADOBE_GAMMA), "RGB")


def _says_adobe(image: Image.Image) -> bool:
    """Whether Exif declares Adobe RGB. PNG is left alone: asking decodes it, and no camera writes it."""
    if image.format not in {"JPEG", "MPO", "TIFF"}:
        return False
    try:
        index = image.getexif().get_ifd(ExifTags.IFD.Interop).get(ExifTags.Interop.InteropIndex)
    except (OSError, ValueError, SyntaxError, KeyError, TypeError, struct.error):
        return False
    text = index.decode("ascii", "replace") if isinstance(index, bytes) else str(index)
    return text.strip("\0 ") == UNCALIBRATED


def matrix_profile(primaries: tuple[tuple[float, float, float], ...], gamma: float) -> bytes:
    """An ICC profile (version 2.4) of a colour space given by the XYZ of its red, green and blue under D50,
    and by one exponent. Layout: ICC.1:2001-04, 6.1 to 6.5."""

    def fixed(number: float) -> bytes:
        return struct.pack(">i", round(number * 65536))

    tags: dict[bytes, bytes] = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 2) + b"a\0" + bytes(12 + 67),
        b"cprt": b"text" + bytes(4) + b"CC0\0",
        b"wtpt": b"XYZ " + bytes(4) + b"".join(map(fixed, D50)),
    }
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))
    for letter, primary in zip((b"r", b"g", b"b"), primaries, strict=True):
        tags[letter + b"XYZ"] = b"XYZ " + bytes(4) + b"".join(map(fixed, primary))
        tags[letter + b"TRC"] = curve
    at = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        table += name + struct.pack(">II", at + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    head = struct.pack(">I4sI4s4s4s", at + len(body), bytes(4), 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    head += struct.pack(">6H4s", 2000, 1, 1, 0, 0, 0, b"acsp") + bytes(28)
    head += b"".join(map(fixed, D50))
    return head.ljust(128, b"\0") + table + body
