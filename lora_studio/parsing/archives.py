"""ZIP archives from strangers, with limits on entries, sizes, ratio; nothing is extracted to disk."""

from __future__ import annotations

import functools
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lora_studio.errors import DatasetError
from lora_studio.files import read_errors

MARK = b"PK\x03\x04"
MOST_ENTRIES = 5000
MOST_INDEX_BYTES = 4_000_000
HARMLESS_BYTES = 1_000_000
"""Size below which a member may be packed as tightly as it likes: an even surface is."""
# Exceptions of zipfile on damaged or odd archives.
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError, struct.error)


@dataclass(kw_only=True)
class Limits:
    """Limits on unpacking: `bytes_left` of all archives together (it counts down), `member_bytes` of one
    file, `ratio` unpacked to packed."""

    bytes_left: int = 500_000_000
    member_bytes: int = 100_000_000
    ratio: int = 100


@dataclass(frozen=True, kw_only=True)
class Member:
    """A file in an archive: `parts` is its harmless path, `read` gives its bytes or raises DatasetError."""

    parts: tuple[str, ...]
    read: Callable[[], bytes]


def is_archive(path: Path) -> bool:
    """Whether a file ends in .zip or begins as one. A picture with an archive at its end is a picture."""
    try:
        with path.open("rb") as file:
            return path.suffix.lower() == ".zip" or file.read(4) == MARK
    except OSError:
        return False


@contextmanager
def open_archive(path: Path, limits: Limits) -> Iterator[Iterator[Member]]:
    """The members of an archive, without folders and links. Raises DatasetError, also while they are read."""
    _check_index(path)
    try:
        archive = zipfile.ZipFile(path)
    except DAMAGE as error:
        raise _damaged(path.name) from error
    with archive:
        entries = archive.infolist()
        if len(entries) > MOST_ENTRIES:
            raise _too_many(path)
        if any(entry.flag_bits & 1 for entry in entries):
            raise DatasetError(
                f"{path.name} is protected by a password.", "Make a ZIP without a password.", path=path
            )
        yield _members(archive, path.name, entries, limits)


def _members(
    archive: zipfile.ZipFile, name: str, entries: list[zipfile.ZipInfo], limits: Limits
) -> Iterator[Member]:
    for entry in entries:
        parts = harmless_parts(entry.filename)
        is_link = stat.S_ISLNK(entry.external_attr >> 16)
        if not parts or entry.is_dir() or is_link:
            continue
        shown = f"{name}: {'/'.join(parts)}"
        yield Member(parts=parts, read=functools.partial(_read, archive, entry, shown, limits))


def harmless_parts(path: str) -> tuple[str, ...]:
    """The names in an archive's path without roots, drives and steps upwards."""
    parts = (part.strip() for part in re.split(r"[\\/]", path))
    return tuple(
        part for part in parts if part and set(part) != {"."} and not re.fullmatch(r"[A-Za-z]:", part)
    )


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, shown: str, limits: Limits) -> bytes:
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DatasetError(f"{shown} is packed in an unusual way.", "Make an ordinary ZIP.", path=shown)
    if entry.file_size > max(HARMLESS_BYTES, limits.ratio * entry.compress_size):
        raise DatasetError(f"{shown} is packed suspiciously tightly and was not unpacked.", path=shown)
    if entry.file_size > limits.member_bytes:
        raise too_big(shown, limits.member_bytes)
    chunks, size = [], 0
    try:
        with archive.open(entry) as file:
            while chunk := file.read(1 << 16):
                size += len(chunk)
                limits.bytes_left -= len(chunk)
                if size > limits.member_bytes or limits.bytes_left < 0:
                    break
                chunks.append(chunk)
    except DAMAGE as error:
        raise _damaged(shown) from error
    if limits.bytes_left < 0:
        raise DatasetError(
            f"{shown} was left out: the archives hold too much unpacked.", "Send fewer files.", path=shown
        )
    if size > limits.member_bytes:
        raise too_big(shown, limits.member_bytes)
    return b"".join(chunks)


def too_big(shown: str, limit: int) -> DatasetError:
    return DatasetError(
        f"{shown} is larger than {limit // 1_000_000} MB.", "Make the file smaller.", path=shown
    )


def _check_index(path: Path) -> None:
    """Refuse an archive whose index is too large, before zipfile reads all of it. Layout: APPNOTE 4.3.16."""
    with read_errors(path, DatasetError), path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 65_557))
        tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + 22:
        raise _damaged(path.name)
    entries, index_bytes = struct.unpack_from("<HI", tail, at + 10)
    is_zip64 = tail[max(0, at - 20) : at].startswith(b"PK\x06\x07")
    if is_zip64 or entries > MOST_ENTRIES or index_bytes > MOST_INDEX_BYTES:
        raise _too_many(path)


def _too_many(path: Path) -> DatasetError:
    return DatasetError(
        f"{path.name} holds more files than are read from one archive ({MOST_ENTRIES}).",
        "Make a smaller ZIP of the pictures only.",
        path=path,
    )


def _damaged(shown: str) -> DatasetError:
    return DatasetError(f"{shown} is damaged or no ZIP archive.", "Make it again.", path=shown)
