"""The log of edits of a folder of pictures: a text file of JSON lines that only ever grows.

    {"id": "5f0c2a91", "after": "originals", "time": ..., "why": ..., "edits": [...]}
    {"head": "originals", "time": ...}                        undone
    {"head": "5f0c2a91", "time": ...}                         redone
    {"version": "first look", "at": "5f0c2a91", "time": ...}  a name for the state after an entry

An entry says which one it comes after, so entries make a tree, and the last line's head is the place in it
that holds. Nothing that was written is lost by going back, and each state can be gone to again.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lora_studio.data.edits.picture_edits import Edit, edit_dict, edit_of
from lora_studio.data.pixels.stray_files import EDITS
from lora_studio.errors import DatasetError
from lora_studio.files import disk_errors, locked, read_errors
from lora_studio.parsing.json_text import read_json
from lora_studio.parsing.numbers import shown
from lora_studio.parsing.plain_text import plain_text

FILE = EDITS
ORIGINALS = "originals"
"""The state before any entry."""
MOST_BYTES, LONGEST_LINE = 64 * 2**20, 8 * 2**20
"""Bytes of a log and of one of its lines: some hundred thousand captions, and a new caption for each picture
of a large set at once."""
LONGEST_HEAD = 2000
"""Bytes of a line beside its edits."""
MOST_LINES = 10_000
LONGEST_WHY = 200
LONGEST_NAME = 60
"""Characters of a finding's name, and of a version's."""
WRITING = threading.RLock()
"""The turn of who looks at a log and then adds to it, among the threads of this process."""


@dataclass(frozen=True, kw_only=True)
class EditEntry:
    """Edits that were made at once, and are undone at once. `after` is the id of the entry before, `why` the
    name of the finding that they mend; empty for what a person did by hand. Entries with the same `run` were
    made in parts, in this log or another, and are undone together."""

    id: str
    after: str
    time: float
    edits: tuple[Edit, ...]
    why: str = ""
    run: str = ""


@dataclass(kw_only=True)
class EditHistory:
    """A log as read. `undone` are the ids that redo brings back, the next one last; `versions` ids by name;
    `lines` and `length` are its numbers of lines and bytes, `unread` the number of lines that say nothing."""

    entries: dict[str, EditEntry] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    head: str = ORIGINALS
    undone: list[str] = field(default_factory=list)
    lines: int = 0
    length: int = 0
    unread: int = 0

    @property
    def undoable(self) -> EditEntry | None:
        """The entry that undo takes back, with those of the same run right before it as one."""
        run, here = list[EditEntry](), self.entries.get(self.head)
        while here and _is_same_run(run, here):
            run.append(here)
            here = self.entries.get(here.after)
        return _as_one(run[::-1])

    @property
    def redoable(self) -> EditEntry | None:
        """The entry that redo brings back, with those of the same run right after it as one."""
        run = list[EditEntry]()
        for entry in map(self.entries.__getitem__, reversed(self.undone)):
            if not _is_same_run(run, entry):
                break
            run.append(entry)
        return _as_one(run)

    @property
    def unnamed(self) -> list[EditEntry]:
        """Ends of branches that nothing but their ids leads to: no name, no redo. The newest last."""
        passed = {entry.after for entry in self.entries.values()} | {
            self.head,
            *self.undone,
            *self.versions.values(),
        }
        return [entry for key, entry in self.entries.items() if key not in passed]

    def at(self, version: str = "") -> str:
        """The id that a name or an id stands for; the head for an empty one. Raises DatasetError."""
        found = self.versions.get(version, version) if version else self.head
        if not self._is_state(found):
            names = ", ".join([*self.versions, ORIGINALS][:20])
            raise DatasetError(f"There is no version {shown(version)} of these pictures.", f"Take {names}.")
        return found

    def check_head(self, after: str) -> None:
        """Refuse what was decided on another state than the one that holds. Raises DatasetError."""
        if after and self.at(after) != self.head:
            raise DatasetError(
                "The pictures were edited elsewhere after you saw them.",
                "Reload the page, or list the edits again, and then decide anew.",
            )

    def line(self, version: str = "") -> list[EditEntry]:
        """The entries that lead from the originals to a version, in order. Raises DatasetError."""
        found, here = [], self.at(version)
        while here in self.entries:
            found.append(self.entries[here])
            here = self.entries[here].after
        return found[::-1]

    def edits(self, version: str = "") -> Iterator[Edit]:
        """The edits that make a version of the originals, in order. Raises DatasetError."""
        for entry in self.line(version):
            yield from entry.edits

    def take(self, line: Any) -> None:
        """Go on by one line of the log. Raises DatasetError, or for a senseless one KeyError and its like."""
        if not isinstance(line, dict):
            raise TypeError("a line is a table")
        if "version" in line:
            self.versions[_name(line["version"])] = self.at(_text(line["at"]))
        elif "head" in line:
            self._move(self.at(_text(line["head"])))
        else:
            entry = _entry(line)
            if self._is_state(entry.id) or not self._is_state(entry.after):
                raise ValueError("an entry comes once, and after one that is there")
            self.entries[entry.id] = entry
            self.head, self.undone = entry.id, []

    def _is_state(self, name: str) -> bool:
        return name == ORIGINALS or name in self.entries

    def _move(self, target: str) -> None:
        """Go to a state. What lies between it and a later one can be redone; another branch can't."""
        if target in self.undone:
            del self.undone[self.undone.index(target) :]
        else:
            passed, here = list[str](), self.head
            while here != target and here in self.entries:
                passed.append(here)
                here = self.entries[here].after
            self.undone = [*self.undone, *passed] if here == target else []
        self.head = target


class EditLog:
    """The log of one folder. Each call reads the file, and what it adds follows from all that the file says
    then, so the page and the command line may both write it. Raises DatasetError."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE

    def read(self) -> EditHistory:
        """The history; an empty one without a file. Lines that say nothing are counted and passed over."""
        content = self._content()
        # At these ends alone: Unicode's other line separators are letters of captions.
        lines = [line for line in content.split(b"\n") if line.strip()]
        if len(content) > MOST_BYTES or len(lines) > MOST_LINES:
            raise DatasetError(
                f"{self.path.name} is too long to be read: it may have {MOST_LINES:,} lines.",
                "Move it out of the folder; the pictures are then as they came.",
                path=self.path,
            )
        history = EditHistory(lines=len(lines), length=len(content))
        for line in lines:
            try:
                history.take(read_json(line.decode("utf-8", "replace"), LONGEST_LINE))
            except (DatasetError, KeyError, TypeError, ValueError, OverflowError):
                history.unread += 1
        return history

    def append(
        self,
        edits: Sequence[Edit],
        why: str = "",
        check: Callable[[EditHistory], None] = lambda _: None,
        *,
        run: str = "",
    ) -> EditEntry:
        """Make edits at once, after those that hold; `check` raises DatasetError where they don't fit. Those
        that one line has no room for become several entries of a run, returned as one."""
        time, parts = datetime.now(UTC).timestamp(), _parts(edits)
        ids = [secrets.token_hex(4) for _ in parts]
        mark = run or (ids[0] if len(parts) > 1 else "")
        made, words = list[EditEntry](), plain_text(why, LONGEST_WHY)

        def lines(history: EditHistory) -> list[dict[str, Any]]:
            check(history)
            made[:] = [
                EditEntry(id=name, after=after, time=time, edits=part, why=words, run=mark)
                for name, after, part in zip(ids, [history.head, *ids], parts, strict=False)
            ]
            return [_line(entry) for entry in made]

        self._add_lines(lines)
        return replace(made[-1], after=made[0].after, edits=tuple(edits))

    def undo(self, after: str = "") -> EditEntry:
        """Go back before the last entry that holds, or with `after` only from that state; returns it."""
        undone = list[EditEntry]()

        def line(history: EditHistory) -> dict[str, Any]:
            history.check_head(after)
            if history.undoable is None:
                raise DatasetError("There is nothing to undo.", "The pictures are as they came.")
            undone.append(history.undoable)
            return _move_to(history.undoable.after)

        self._add(line)
        return undone[-1]

    def redo(self, after: str = "") -> EditEntry:
        """Bring back what was undone last; returns it. `after` as for `undo`."""
        redone = list[EditEntry]()

        def line(history: EditHistory) -> dict[str, Any]:
            history.check_head(after)
            if history.redoable is None:
                raise DatasetError("There is nothing to redo.")
            redone.append(history.redoable)
            return _move_to(history.redoable.id)

        self._add(line)
        return redone[-1]

    def go_to(self, version: str, after: str = "") -> None:
        """Let a version hold: a name, an entry's id, or `originals`. `after` as for `undo`."""
        if not version:
            raise DatasetError("A version has a name.", f"Take one, or {ORIGINALS}.")

        def line(history: EditHistory) -> dict[str, Any] | None:
            history.check_head(after)
            target = history.at(version)
            return None if target == history.head else _move_to(target)

        self._add(line)

    def name_version(self, name: str, after: str = "", *, moves: bool = True) -> None:
        """Give the state that holds a name, which another one loses or keeps. `after` as for `undo`."""
        named = plain_text(name, LONGEST_NAME)

        def line(history: EditHistory) -> dict[str, Any]:
            if not named or named == ORIGINALS or named in history.entries:
                raise DatasetError(f"{shown(name)} can't be a version's name.", "Take another word.")
            history.check_head(after)
            if not moves and history.versions.get(named, history.head) != history.head:
                raise DatasetError(f"There is a version {shown(named)} already.", "Take another name.")
            return {"version": named, "at": history.head, "time": _now()}

        self._add(line)

    def _content(self) -> bytes:
        # Not asked beforehand: another process may begin the log at any moment.
        missing = contextlib.suppress(FileNotFoundError, NotADirectoryError)  # a ZIP that is given as it is
        with read_errors(self.path, DatasetError), missing, self.path.open("rb") as file:
            return file.read(MOST_BYTES + 1)
        return b""

    def _add(self, make: Callable[[EditHistory], Mapping[str, Any] | None]) -> None:
        """Add the line that `make` gives for the history; none for None."""
        self._add_lines(lambda history: [line] if (line := make(history)) is not None else [])

    def _add_lines(self, make: Callable[[EditHistory], Sequence[Mapping[str, Any]]]) -> None:
        """Add the lines that `make` gives; anew where another process wrote in between."""
        with WRITING:
            while True:
                history = self.read()
                lines = make(history)
                if not lines or self._is_written(lines, history):
                    return

    def _is_written(self, lines: Sequence[Mapping[str, Any]], history: EditHistory) -> bool:
        """Add lines, unless the log isn't any more as it was read. One that a power cut tore apart says
        nothing, and the next stands on its own."""
        texts = [_bytes_of(line) for line in lines]
        if any(len(text) > LONGEST_LINE for text in texts):
            raise DatasetError("These are too many edits at once.", "Make them in several parts.")
        text = b"".join(texts)
        if history.lines + len(texts) > MOST_LINES or history.length + len(text) > MOST_BYTES:
            raise DatasetError(
                f"{self.path.name} has no room for more edits.",
                "Export the pictures as they are now, and go on from that folder.",
                path=self.path,
            )
        with disk_errors("The edit", "saved", kind=DatasetError), self.path.open("a+b") as file, locked(file):
            if file.seek(0, os.SEEK_END) != history.length:
                return False
            file.seek(max(0, history.length - 1))
            is_torn = file.read(1) not in (b"", b"\n")
            file.write(b"\n" + text if is_torn else text)
            file.flush()
            os.fsync(file.fileno())
        return True


def _parts(edits: Sequence[Edit]) -> list[tuple[Edit, ...]]:
    """Edits in parts, each of which a line has room for."""
    parts, room = list[list[Edit]](), 0
    for edit in edits:
        taken = len(_bytes_of(edit_dict(edit))) + 1
        if not parts or taken > room:
            parts.append([])
            room = LONGEST_LINE - LONGEST_HEAD
        parts[-1].append(edit)
        room -= taken
    return [tuple(part) for part in parts] or [()]


def _bytes_of(line: Mapping[str, Any]) -> bytes:
    return (json.dumps(line, ensure_ascii=False) + "\n").encode()


def _line(entry: EditEntry) -> dict[str, Any]:
    facts = {"id": entry.id, "after": entry.after, "time": _moment(entry.time)}
    facts |= {name: text for name, text in (("why", entry.why), ("run", entry.run)) if text}
    return {**facts, "edits": [edit_dict(edit) for edit in entry.edits]}


def _entry(line: Mapping[str, Any]) -> EditEntry:
    why = line.get("why", "")
    return EditEntry(
        id=_text(line["id"]),
        after=_text(line["after"]),
        time=_time(line["time"]),
        edits=tuple(edit_of(edit) for edit in line["edits"]),
        why=plain_text(why, LONGEST_WHY),
        run=plain_text(line.get("run", ""), LONGEST_NAME),
    )


def _is_same_run(run: Sequence[EditEntry], entry: EditEntry) -> bool:
    return not run or (entry.run != "" and entry.run == run[0].run)


def _as_one(run: Sequence[EditEntry]) -> EditEntry | None:
    """Entries in order, taken together."""
    if not run:
        return None
    return replace(run[-1], after=run[0].after, edits=tuple(edit for entry in run for edit in entry.edits))


def _time(given: object) -> float:
    """A moment, as seconds, that has a date in any zone."""
    time = datetime.fromisoformat(_text(given))
    if not datetime.min.year < time.year < datetime.max.year:
        raise ValueError("a year of four digits is needed, and one beside it")
    return time.timestamp()


def _name(given: object) -> str:
    name = plain_text(given, LONGEST_NAME)
    if not name or name == ORIGINALS:
        raise ValueError("a version has a name of its own")
    return name


def _text(given: object) -> str:
    if not isinstance(given, str) or not 0 < len(given) <= LONGEST_NAME:
        raise ValueError("a short text is needed")
    return given


def _move_to(state: str) -> dict[str, Any]:
    return {"head": state, "time": _now()}


def _now() -> str:
    return _moment(datetime.now(UTC).timestamp())


def _moment(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="seconds")
