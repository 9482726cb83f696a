"""Files written whole or not at all, their SHA-256, errors of the disk, and the room that is left on it."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import mmap
import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from io import BufferedRandom
from pathlib import Path

from lora_studio.errors import DatasetError, DiskFull, ModelFileError, StoreError, StudioError
from lora_studio.formatting import size
from lora_studio.settings import Settings

ROOM = "Free some disk space, or let LORA_STUDIO_HOME name another folder that you may write to."
UNFINISHED = re.compile(r"\..+\.[0-9a-f]{12}\.tmp", re.DOTALL)
KEEP_FREE = "Free some space, or set LORA_STUDIO_KEEP_FREE_GB lower."


BLOCK = 16 * 2**20
"""Bytes that are hashed in one go: a thread that hashes has to wait for its turn with Python after each."""
REPLACE_PAUSES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Seconds between attempts."""
FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
"""Errors for a disk that is full, or somebody's share of it."""
IN_USE = {5, 32, 33}
"""Windows' errors for a file that somebody has open: access denied, sharing and lock violation."""
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
"""Errors of disks that know no locks."""
LOCKED_BYTE = 2**30
"""The byte that stands for the whole file where locks have places. On Windows nobody else may read it, so it
lies behind the end of what is locked here."""


def expanded(path: str | Path) -> Path:
    """The path with the home folder for a leading ~; `~nobody`, who has none, stays."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


@contextlib.contextmanager
def replacing(path: Path, *, lasting: bool = True) -> Iterator[BufferedRandom]:
    """A new file beside `path`, to be written and read, which takes its place when the block ends well; makes
    the folder. Without `lasting` the file needn't survive a power cut. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        with unfinished.open("x+b") as file:  # with the process's umask; mkstemp leaves out the owner's group
            yield file
            file.flush()
            if lasting:
                os.fsync(file.fileno())
        replace_file(unfinished, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(unfinished)
        raise


@contextlib.contextmanager
def creating(path: Path) -> Iterator[Path]:
    """The path of an unfinished file beside `path`, for somebody to write, which gets that name when the
    block ends well; makes the folder. A file that has the name already is never touched. Raises
    FileExistsError, OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        yield unfinished
        with unfinished.open("rb+") as file:
            os.fsync(file.fileno())
        try:
            os.link(unfinished, path)
        except FileExistsError:
            raise
        except OSError:  # a disk without hard links, where the name is looked for a moment before
            if path.exists():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
            os.rename(unfinished, path)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(unfinished)


if sys.platform == "win32":  # pragma: no cover
    import msvcrt

    def _lock(file: BufferedRandom, *, is_held: bool) -> None:
        os.lseek(file.fileno(), LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(file.fileno(), msvcrt.LK_LOCK if is_held else msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(file: BufferedRandom, *, is_held: bool) -> None:
        fcntl.flock(file, fcntl.LOCK_EX if is_held else fcntl.LOCK_UN)


@contextlib.contextmanager
def locked(file: BufferedRandom) -> Iterator[None]:
    """Hold a file below 1 GB that is open for writing: other processes that ask for it wait, on Windows for
    ten seconds. On disks without locks they don't. The block begins with a `seek` to the end, and
    flushes what it writes. Raises OSError."""
    try:
        _lock(file, is_held=True)
        is_held = True
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        is_held = False
    try:
        yield
    finally:
        if is_held:
            _lock(file, is_held=False)


def replace_file(source: Path, target: Path) -> None:
    """Let a file take another's place in the same folder. On Windows that is refused while somebody has the
    other open, a virus scanner for one, so it is tried again for two seconds. Raises OSError."""
    for pause in REPLACE_PAUSES:
        try:
            os.replace(source, target)
            return
        except PermissionError as error:
            if getattr(error, "winerror", None) not in IN_USE:
                raise
            time.sleep(pause)
    os.replace(source, target)


def remove_unfinished(folder: Path) -> None:
    """Remove what a killed process began to replace below a folder that nobody writes to now."""
    for path in folder.rglob(".*.tmp"):
        if UNFINISHED.fullmatch(path.name):
            with contextlib.suppress(OSError):
                path.unlink()


def write_atomically(path: Path, data: bytes | str, *, lasting: bool = True) -> None:
    """Write a file whole or not at all; `lasting` as for `replacing`. Raises OSError."""
    with replacing(path, lasting=lasting) as file:
        file.write(data.encode() if isinstance(data, str) else data)


def copy_atomically(source: Path, target: Path) -> None:
    """Copy a file's content, without rights and times. Raises OSError."""
    with source.open("rb") as read, replacing(target) as written:
        shutil.copyfileobj(read, written, 1 << 20)


def make_room(folder: Path, pattern: str, most_bytes: int) -> None:
    """Remove the least recently used files of a cache until they take no more than `most_bytes`."""
    found = []
    for path in folder.glob(pattern):
        with contextlib.suppress(OSError):
            facts = path.stat()
            found.append((facts.st_mtime, facts.st_size, path))
    excess = sum(length for _, length, _ in found) - most_bytes
    for _, length, path in sorted(found):
        if excess <= 0:
            return
        with contextlib.suppress(OSError):
            path.unlink()
            excess -= length


def bytes_of(files: Iterable[Path]) -> int:
    """The bytes of files together, of those that are there."""
    wanted = 0
    for file in files:
        with contextlib.suppress(OSError):
            wanted += file.stat().st_size
    return wanted


def sha256(path: Path, start: int = 0) -> str:
    """The SHA-256 of a file's bytes from `start` on, in hexadecimal digits. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file, mmap.mmap(-1, BLOCK) as block, memoryview(block) as view:
        file.seek(start)
        while count := file.readinto(view):
            digest.update(view[:count])
    return digest.hexdigest()


def reason(error: OSError) -> str:
    """The reason of an OSError without number and path: `No space left on device`."""
    if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list):
        return str(error.args[0][0][-1])  # (from, to, why) of each file of a folder
    return error.strerror or str(error)


@contextlib.contextmanager
def disk_errors(
    what: str, done: str, hint: str = ROOM, kind: type[StudioError] = StoreError
) -> Iterator[None]:
    """Turn an OSError into `kind`: `what` ("The pictures") can't be `done` ("stored"). No room: DiskFull."""
    try:
        yield
    except OSError as error:
        if kind is StoreError and error.errno in FULL:
            kind = DiskFull
        raise kind(f"{what} can't be {done}: {reason(error)}.", hint) from error


@contextlib.contextmanager
def read_errors(path: Path, kind: type[DatasetError | ModelFileError], shown: str = "") -> Iterator[None]:
    """Turn an OSError into `kind`: the file at `path`, `shown` to people, can't be read."""
    try:
        yield
    except OSError as error:
        raise kind(f"{shown or path.name} can't be read: {reason(error)}.", path=path) from error


def is_of_disk(error: Exception) -> bool:
    """Whether the disk or the network share is why a file can't be read, not what is in it."""
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno is not None  # what decodes pictures raises bare ones


def free_bytes(place: Path) -> int | None:
    """Free bytes of the disk that a file or folder lies on or would lie on; None where nobody can tell."""
    place = place.absolute()
    try:
        existing = next(folder for folder in (place, *place.parents) if folder.exists())
        return shutil.disk_usage(existing).free
    except (OSError, StopIteration):
        return None


def has_room(place: Path, wanted: int = 0, settings: Settings | None = None) -> bool:
    """Whether `wanted` bytes fit while the space to be kept free stays free; true where nobody can tell."""
    free, kept = free_bytes(place), (settings or Settings.from_environment()).keep_free_bytes
    return free is None or free >= wanted + kept


def check_room(place: Path, what: str, wanted: int = 0, settings: Settings | None = None) -> None:
    """Refuse to begin writing `what` (as "The pictures") where it doesn't fit. Raises DiskFull."""
    settings = settings or Settings.from_environment()
    if has_room(place, wanted, settings):
        return
    kept = f"{size(settings.keep_free_bytes)} are kept free"
    need = f"{what} would take {size(wanted)}, and {kept}" if wanted else f"{what} can't be stored: {kept}"
    raise DiskFull(f"The disk has {size(free_bytes(place) or 0)} left. {need}.", KEEP_FREE)
