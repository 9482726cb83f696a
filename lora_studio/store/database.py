"""The SQLite file of the store, open for several threads and processes at once."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from lora_studio.errors import StoreError
from lora_studio.files import disk_errors
from lora_studio.store.migrations import MIGRATIONS

logger = logging.getLogger(__name__)

BUSY_SECONDS = 5.0
DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
Parameters = Sequence[Any] | Mapping[str, Any]


class Unstorable(StoreError):
    """A value that no row can hold: half a surrogate pair, a number of more than 64 bits."""


class Database:
    """The store's file: opened or made, its schema brought up to date.

    A damaged file is moved aside, never deleted; `notice` is then a sentence on that. Reads and writes use a
    connection each, so that a reader does not wait for a writer. Raises StoreError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notice = ""
        self._writing, self._reading = threading.RLock(), threading.RLock()
        with disk_errors(f"The folder {path.parent}", "made"):
            path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and _is_damaged(path):
            self._move_aside()
        with _translated(path):
            self._writer = _connect(path)
            try:
                _migrate(self._writer, path)
                self._reader = _connect(path)
            except BaseException:
                self._writer.close()
                raise

    def read(self, sql: str, params: Parameters = ()) -> list[sqlite3.Row]:
        """The rows of a SELECT. Raises StoreError."""
        with self._reading, _translated(self.path):
            return self._reader.execute(sql, params).fetchall()

    def change(self, sql: str, params: Parameters = ()) -> None:
        """Execute one statement, as a transaction of its own or as part of the block's. Raises StoreError."""
        with self.write() as connection:
            connection.execute(sql, params)

    def revisions(self) -> dict[str, int]:
        """A number for each table that an open page shows, which changes with any change of it, whoever made
        that. Raises StoreError."""
        return {row["name"]: row["value"] for row in self.read("SELECT name, value FROM revisions")}

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One transaction: committed at the end of the block, undone by an exception. Keep it short and read
        through the given connection inside it. Inside such a block another one is part of it. Raises
        StoreError."""
        with self._writing, _translated(self.path):
            if self._writer.in_transaction:  # of this thread, which has the lock
                yield self._writer
                return
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise

    def close(self) -> None:
        with self._writing, self._reading:
            self._reader.close()
            self._writer.close()

    def _move_aside(self) -> None:
        aside = self.path.with_name(f"{self.path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
        hint = "Close other programs that use it, or move it away by hand."
        with disk_errors(f"The damaged database {self.path}", "moved aside", hint):
            for ending in ("", "-wal", "-shm"):
                part = self.path.with_name(self.path.name + ending)
                if part.exists():
                    part.replace(aside.with_name(aside.name + ending))
        self.notice = (
            f"The database was damaged. It was moved to {aside.name} and a new one begun; LoRAs, images and "
            "datasets are found again, the list of trainings starts empty."
        )
        logger.error("%s", self.notice)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=64
    )
    connection.row_factory = sqlite3.Row
    try:
        _use_wal(connection)
        connection.execute("PRAGMA synchronous = NORMAL")  # a killed process loses nothing
        connection.execute("PRAGMA foreign_keys = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to SQLite's write-ahead log; where the file system can't have it, SQLite keeps its older
    journal. The switch does not wait for locks by itself, as statements do."""
    give_up = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchall()
            return
        except sqlite3.OperationalError as error:
            if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                raise
            time.sleep(0.02)


def _is_damaged(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(path, timeout=BUSY_SECONDS)) as connection:
            return bool(connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok")
    except sqlite3.DatabaseError as error:
        return _code(error) in DAMAGED  # anything else is translated when the file is opened in earnest


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    while (version := _version(connection)) != len(MIGRATIONS):
        if version > len(MIGRATIONS):
            raise StoreError(
                f"The database {path} was written by a later version of LoRA Studio "
                f"(schema {version}, this one knows {len(MIGRATIONS)}).",
                "Update LoRA Studio, or let LORA_STUDIO_HOME name another folder.",
            )
        connection.execute("BEGIN IMMEDIATE")
        try:
            if _version(connection) == version:  # another process may have been quicker
                MIGRATIONS[version](connection)
                connection.execute(f"PRAGMA user_version = {version + 1}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 for errors of the Python module itself."""
    return int(getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise _sentence(error, path) from error
    except (UnicodeEncodeError, OverflowError) as error:
        raise Unstorable("A text or number can't be stored as it is.", "Check for odd characters.") from error


def _sentence(error: sqlite3.Error, path: Path) -> StoreError:
    code = _code(error)
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return StoreError(
            f"The database {path} is locked by another program.", "Close the other program or try again."
        )
    if code == sqlite3.SQLITE_FULL:
        return StoreError(f"The disk is full: {path} can't be written.", "Free some disk space.")
    if code in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}:
        return StoreError(
            f"The database {path} can't be opened for writing.",
            "Check its owner and rights, or let LORA_STUDIO_HOME name another folder.",
        )
    if code == sqlite3.SQLITE_IOERR:
        return StoreError(f"The disk reports an error at {path}: {error}.", "Check the disk and try again.")
    if code in DAMAGED:
        return StoreError(
            f"The database {path} is damaged.", "Start LoRA Studio again: it is moved aside and rebuilt."
        )
    if isinstance(error, sqlite3.ProgrammingError) and "closed" in str(error):
        return StoreError("The studio is closed.", "Start LoRA Studio again.")
    return StoreError(f"The database {path} refused: {error}.", "Please report this.")
