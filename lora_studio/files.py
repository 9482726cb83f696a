"""Files of our own: written whole or not at all, identified by SHA-256, their failures in one wording."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from io import BufferedRandom
from pathlib import Path

from lora_studio.errors import DatasetError, ModelFileError, StoreError, StudioError

ROOM = "Free some disk space, or let LORA_STUDIO_HOME name another folder that you may write to."


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
        os.replace(unfinished, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(unfinished)
        raise


def write_atomically(path: Path, data: bytes | str, *, lasting: bool = True) -> None:
    """Write a file whole or not at all; `lasting` as for `replacing`. Raises OSError."""
    with replacing(path, lasting=lasting) as file:
        file.write(data.encode() if isinstance(data, str) else data)


def copy_atomically(source: Path, target: Path) -> None:
    """Copy a file's content, without rights and times. Raises OSError."""
    with source.open("rb") as read, replacing(target) as written:
        shutil.copyfileobj(read, written, 1 << 20)


def sha256(path: Path, start: int = 0) -> str:
    """The SHA-256 of a file's bytes from `start` on, in hexadecimal digits. Raises OSError."""
    with path.open("rb") as file:
        file.seek(start)
        return hashlib.file_digest(file, "sha256").hexdigest()


def reason(error: OSError) -> str:
    """The reason of an OSError without number and path: `No space left on device`."""
    if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list):
        return str(error.args[0][0][-1])  # (from, to, why) of each file of a folder
    return error.strerror or str(error)


@contextlib.contextmanager
def disk_errors(
    what: str, done: str, hint: str = ROOM, kind: type[StudioError] = StoreError
) -> Iterator[None]:
    """Turn an OSError into `kind`: `what` (as "The pictures") can't be `done` (as "stored")."""
    try:
        yield
    except OSError as error:
        raise kind(f"{what} can't be {done}: {reason(error)}.", hint) from error


@contextlib.contextmanager
def read_errors(path: Path, kind: type[DatasetError | ModelFileError], shown: str = "") -> Iterator[None]:
    """Turn an OSError into `kind`: the file at `path`, `shown` to people, can't be read."""
    try:
        yield
    except OSError as error:
        raise kind(f"{shown or path.name} can't be read: {reason(error)}.", path=path) from error
