"""The audit log: who did what, from where, with which result. JSON lines that are only ever added to, in
files that only the owner of the home reads. Neither prompts, captions and titles nor secrets stand in it."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from pathlib import Path

from lora_studio.parsing.plain_text import plain_text

logger = logging.getLogger(__name__)

NAME = "audit.jsonl"
REFUSED = "refused.jsonl"
"""The file of what was refused, failed logins too: anybody may try as often as they like, and shall not push
out by that what was done."""
LARGEST = 2_000_000
"""Bytes of a file, after which the next one is begun."""
KEPT = 5
LONGEST = 100
LOCAL, UNKNOWN = "local", "unknown"
OK = "ok"


@dataclass(frozen=True, kw_only=True)
class AuditEntry:
    """One line. `who` is a user's name, or "local" for the person at the machine; `source` their address;
    `deed` as in "delete", `thing` its id, `result` "ok" or the kind of error."""

    deed: str
    who: str = LOCAL
    source: str = ""
    thing: str = ""
    result: str = OK
    at: float = 0.0

    @property
    def was_done(self) -> bool:
        return self.result == OK


class AuditLog:
    """The log of one home folder. What can't be written is a warning: no deed is refused for it."""

    def __init__(self, home: Path, *, largest: int = LARGEST) -> None:
        self.path, self._largest = home / NAME, largest
        self._lock = threading.Lock()

    def add(self, entry: AuditEntry) -> None:
        """Append an entry, with the time of now if it has none. Its texts are made plain and cut."""
        values = {name: plain_text(text, LONGEST) for name, text in asdict(entry).items() if name != "at"}
        line = json.dumps({"at": round(entry.at or time.time(), 3), **values}) + "\n"
        path = self.path if entry.was_done else self.path.with_name(REFUSED)
        try:
            with self._lock:
                self._turn(path)
                handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
                try:
                    os.write(handle, line.encode())  # in one go: other processes add to it too
                finally:
                    os.close(handle)
        except OSError as error:
            logger.warning("the audit log can't be written: %s", error)

    def newest(self, count: int) -> list[AuditEntry]:
        """The last entries, oldest first. Lines that can't be read are left out."""
        if count <= 0:
            return []
        found = [entry for name in (NAME, REFUSED) for entry in self._newest_in(name, count)]
        return sorted(found, key=lambda entry: entry.at)[-count:]

    def _newest_in(self, name: str, count: int) -> list[AuditEntry]:
        found: list[AuditEntry] = []
        for path in filter(Path.is_file, self._files(name)):
            found = [*_entries(path), *found]
            if len(found) >= count:
                break
        return found[-count:]

    def _files(self, name: str) -> list[Path]:
        """The places of a file and of those before it, newest first."""
        stem = Path(name).stem
        names = [name, *(f"{stem}.{number}.jsonl" for number in range(1, KEPT))]
        return [self.path.with_name(one) for one in names]

    def _turn(self, path: Path) -> None:
        """Begin a new file once this one is full; the oldest goes."""
        if not path.is_file() or path.stat().st_size < self._largest:
            return
        files = self._files(path.name)
        for newer, older in reversed([*pairwise(files)]):
            if newer.is_file():
                os.replace(newer, older)


def _entries(path: Path) -> Iterator[AuditEntry]:
    names = {field.name for field in fields(AuditEntry)} - {"at"}
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return
    for line in lines:
        try:
            data = json.loads(line)
            texts = {name: plain_text(data.get(name, ""), LONGEST) for name in names}
            yield AuditEntry(at=float(data["at"]), **texts)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            continue
