"""Metadata of picture files taken out, with the pixels and their colours left as they are: phones write into
each photograph where, when and with what it was taken."""

from __future__ import annotations

from collections.abc import Iterator

from lora_studio.data.pixels.decoding import (
    END_OF_JPEG,
    JPEG_SEGMENT,
    PNG_MARK,
    SCAN_OF_JPEG,
    TEXTS,
    png_chunks,
)

JPEG_MARK = b"\xff\xd8"
APPLICATION, COMMENT = range(0xE0, 0xF0), 0xFE
KEPT_APPLICATIONS = ((0xE0, b"JFIF\0"), (0xE2, b"ICC_PROFILE\0"), (0xEE, b"Adobe"))
"""Segments of programs that decoders need: the plain head, the colour profile, the kind of the colours."""
NO_PNG_PIXELS = TEXTS | {b"eXIf", b"tIME"}
NO_WEBP_PIXELS = {b"EXIF", b"XMP "}
WEBP_HEAD, WEBP_FLAGS = b"VP8X", 0x04 | 0x08
"""The flags in a WebP's head that say that it has XMP and Exif."""


def without_metadata(content: bytes) -> bytes:
    """A picture file without Exif (with its place), XMP, IPTC, texts, thumbnails and further pictures. What
    is none of JPEG, PNG and WebP stays as it is, and so does a file without metadata, to the byte. The
    orientation goes, too: this is for pictures that are upright. Layouts: ITU-T T.81 annex B, PNG third
    edition 5.3, RFC 9649 2.7."""
    if content.startswith(JPEG_MARK):
        return b"".join([JPEG_MARK, *_jpeg_parts(content)])
    if content.startswith(PNG_MARK):
        return b"".join([PNG_MARK, *_png_parts(content)])
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        parts = b"".join(_webp_parts(content))
        return b"RIFF" + (len(parts) + 4).to_bytes(4, "little") + b"WEBP" + parts
    return content


def _jpeg_parts(content: bytes) -> Iterator[bytes]:
    """The segments and scans of the first picture. Phones put others behind it, each with its own Exif."""
    at, is_scanned = len(JPEG_MARK), False
    while match := JPEG_SEGMENT.search(content, at):
        if is_scanned:
            yield content[at : match.start()]
        if match[1] == END_OF_JPEG:
            yield match[0]
            return
        length = int.from_bytes(content[match.end() : match.end() + 2], "big")
        at = match.end() + max(2, length)
        is_scanned = is_scanned or match[1] == SCAN_OF_JPEG
        if _is_kept(match[1][0], content[match.end() + 2 : at]):
            yield content[match.start() : at]
    if is_scanned:
        yield content[at:]


def _is_kept(marker: int, payload: bytes) -> bool:
    if marker in APPLICATION:
        return any(marker == kept and payload.startswith(name) for kept, name in KEPT_APPLICATIONS)
    return marker != COMMENT


def _png_parts(content: bytes) -> Iterator[bytes]:
    for kind, start, end in png_chunks(content):
        if kind not in NO_PNG_PIXELS:
            yield content[start:end]
        if kind == b"IEND":
            return


def _webp_parts(content: bytes) -> Iterator[bytes]:
    at, end = 12, min(len(content), 8 + int.from_bytes(content[4:8], "little"))
    while at + 8 <= end:
        kind, length = content[at : at + 4], int.from_bytes(content[at + 4 : at + 8], "little")
        chunk = content[at : at + 8 + length + length % 2]
        if kind == WEBP_HEAD and len(chunk) > 8:
            chunk = chunk[:8] + bytes([chunk[8] & ~WEBP_FLAGS]) + chunk[9:]
        if kind not in NO_WEBP_PIXELS:
            yield chunk
        at += len(chunk)
