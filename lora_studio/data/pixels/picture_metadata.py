"""Metadata of picture files taken out, with the pixels and their colours left as they are: phones write into
each photograph where, when and with what it was taken."""

from __future__ import annotations

from collections.abc import Iterator

from lora_studio.data.pixels.decoding import END_OF_JPEG, JPEG_SEGMENT, PNG_MARK, SCAN_OF_JPEG, png_chunks

JPEG_MARK = b"\xff\xd8"
PIXEL_SEGMENTS = (*range(0xC0, 0xD0), *range(0xDA, 0xE0))
"""Markers of what a decoder needs: frames, tables, scans, restarts."""
KEPT_APPLICATIONS = {
    (0xE0, b"JFIF\0"): slice(0, 12),
    (0xE2, b"ICC_PROFILE\0"): slice(None),
    (0xEE, b"Adobe"): slice(0, 12),
}
"""Segments of programs that decoders need, and how far: the plain head up to the size of its thumbnail, the
colour profile, the kind of the colours."""
NO_THUMBNAIL = b"\0\0"
PNG_PIXELS = frozenset(
    {
        *(b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"bKGD", b"pHYs", b"sBIT"),
        *(b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"cICP", b"mDCV", b"cLLI"),
    }
)
WEBP_PIXELS = frozenset({b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ICCP", b"ANIM", b"ANMF"})
"""Chunks with pixels and colours. All others may hold anything, a maker's private ones and C2PA's, too."""
WEBP_HEAD, WEBP_FLAGS = b"VP8X", 0x04 | 0x08
"""The flags in a WebP's head that say that it has XMP and Exif."""


def without_metadata(content: bytes) -> bytes:
    """A picture file with its pixels and colours alone: no Exif (with its place), XMP, IPTC, C2PA, texts and
    thumbnails, and of a JPEG or PNG no further pictures. What is none of JPEG, PNG and WebP stays as it is,
    and so does a file without metadata, to the byte. The orientation goes, too: this is for pictures that are
    upright. Layouts: ITU-T T.81 annex B, JFIF 1.02, PNG third edition 5.3, RFC 9649 2.7."""
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
        yield from _kept(match[1][0], content[match.start() : at])
    if is_scanned:
        yield content[at:]


def _kept(marker: int, segment: bytes) -> Iterator[bytes]:
    if marker in PIXEL_SEGMENTS:
        yield segment
    payload = segment[4:]
    for (kept, name), part in KEPT_APPLICATIONS.items():
        if marker == kept and payload.startswith(name):
            found = payload[part] + (NO_THUMBNAIL if name.startswith(b"JFIF") else b"")
            yield segment[:2] + (len(found) + 2).to_bytes(2, "big") + found


def _png_parts(content: bytes) -> Iterator[bytes]:
    for kind, start, end in png_chunks(content):
        if kind in PNG_PIXELS:
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
        if kind in WEBP_PIXELS:
            yield chunk
        at += len(chunk)
