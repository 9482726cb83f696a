"""The folder through which the two ends of a run speak: the request and the commands go in, events come out.

`run.json` is the request, `control` holds a word a line, `events.jsonl` an event a line, `failures.jsonl` the
last words of processes that failed, `console.log` whatever they print. On a full disk the far end prints its
events and last words instead, for the near end to read.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lora_studio.config import TrainConfig
from lora_studio.errors import StoreError
from lora_studio.events import COMMANDS, Command, Event, Failed, event_from_json, event_to_json
from lora_studio.files import disk_errors, write_atomically
from lora_studio.training_request import RunRequest

logger = logging.getLogger(__name__)

VERSION = 1
Word = Literal["stop", "pause", "save", "preview"]
WORDS: tuple[Word, ...] = ("stop", *COMMANDS)
LONGEST_LINE = 1 << 20
LONGEST_TRACE = 20_000
SPOKEN = "lora-studio says "
"""The beginning of a printed line that is an event, or the last words of a process that failed."""


@dataclass
class _Tail:
    """A file of lines that somebody else appends to. A line is read once it has ended; no too long one is."""

    path: Path
    place: int = 0
    is_inside: bool = False
    """Whether `place` is in the middle of a line that is too long."""

    def lines(self) -> Iterator[str]:
        try:
            with self.path.open("rb") as file:
                file.seek(self.place)
                while line := file.readline(LONGEST_LINE):
                    has_end, is_rest = line.endswith(b"\n"), self.is_inside
                    if not has_end and len(line) < LONGEST_LINE:
                        return
                    self.place += len(line)
                    self.is_inside = not has_end
                    if has_end and not is_rest:
                        yield line.decode("utf-8", "replace").strip()
                    elif has_end:
                        logger.warning("A line of %s was too long and left out.", self.path.name)
        except OSError:  # not there yet, or a disk that will be back
            return


@dataclass
class RunFiles:
    """One end's view of the folder: what it has read is not read again."""

    folder: Path
    _events: _Tail = field(init=False)
    _control: _Tail = field(init=False)
    _writing: threading.Lock = field(default_factory=threading.Lock)
    _cut_short: set[str] = field(default_factory=set)
    _spoken_failure: str = ""

    def __post_init__(self) -> None:
        self._events = _Tail(self.folder / "events.jsonl")
        self._control = _Tail(self.folder / "control")

    @property
    def console(self) -> Path:
        return self.folder / "console.log"

    def begin(self, request: RunRequest, owner: str) -> None:
        """Write the request of `owner`'s run, after removing what an earlier run left. Raises StoreError."""
        data = {
            "version": VERSION,
            "owner": owner,
            "config": request.config.to_json(),
            "resume_from": str(request.resume_from.absolute()) if request.resume_from else "",
            "fork": request.fork,
        }
        with disk_errors("The training", "started"):
            self.folder.mkdir(parents=True, exist_ok=True)
            for name in ("events.jsonl", "control", "failures.jsonl", "console.log"):
                (self.folder / name).unlink(missing_ok=True)
            write_atomically(self.folder / "run.json", json.dumps(data))

    def request(self) -> tuple[RunRequest, str]:
        """The request without commands, and its owner. Raises StoreError, ConfigError."""
        try:
            data: dict[str, Any] = json.loads((self.folder / "run.json").read_text("utf-8"))
            version, resume_from = data["version"], data["resume_from"]
            config, owner, fork = data["config"], str(data["owner"]), bool(data["fork"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"There is no run in {self.folder}.", "Start it from the studio.") from error
        if version != VERSION:
            raise StoreError(f"The run in {self.folder} was written by another version of LoRA Studio.")
        request = RunRequest(
            config=TrainConfig.from_json(config),
            folder=self.folder,
            resume_from=Path(resume_from) if resume_from else None,
            fork=fork,
        )
        return request, owner

    def tell(self, word: Word) -> None:
        """Give the far end a command. Raises StoreError."""
        with disk_errors("The command", "given to the training"):
            self._append("control", word)

    def words(self) -> list[Word]:
        """The commands since the last look."""
        return [line for line in self._control.lines() if line in WORDS]

    def add(self, event: Event) -> None:
        """Let the near end hear an event."""
        self._say("events.jsonl", json.dumps(event_to_json(event)))

    def events(self) -> Iterator[Event]:
        """The events since the last look."""
        return self._events_of(line for line in self._events.lines() if line)

    def spoken(self, printed: str) -> Iterator[Event]:
        """The event of a line that the far end printed; none for the last words of a process."""
        line = printed.removeprefix(SPOKEN)
        if '"kind"' in line:
            return self._events_of([line])
        self._spoken_failure = self._spoken_failure or line
        return iter(())

    def _events_of(self, lines: Iterable[str]) -> Iterator[Event]:
        for line in lines:
            try:
                yield event_from_json(json.loads(line))
            except (ValueError, TypeError, RecursionError):
                logger.warning("an event in %s can't be read", self.folder)

    def fail(self, event: Failed, kind: str, trace: str) -> None:
        """Leave the last word of a process that failed by a `kind` of error, for who asks for the first."""
        line = {"message": event.message, "hint": event.hint, "error": kind, "trace": trace[-LONGEST_TRACE:]}
        self._say("failures.jsonl", json.dumps(line))

    def failure(self) -> tuple[Failed, str, str] | None:
        """The first failure of any process, the class of its error, and its traceback."""
        for line in (*_Tail(self.folder / "failures.jsonl").lines(), self._spoken_failure):
            try:
                data = json.loads(line)
                failed = Failed(message=str(data["message"]), hint=str(data["hint"]))
                return failed, str(data["error"]), str(data["trace"])
            except (ValueError, TypeError, KeyError, RecursionError):
                continue
        return None

    def _say(self, name: str, line: str) -> None:
        """Write a line, or print it where there is no room for it."""
        try:
            self._append(name, line)
        except OSError:
            sys.stdout.write(f"{SPOKEN}{line}\n")
            sys.stdout.flush()

    def _append(self, name: str, line: str) -> None:
        with self._writing:
            start = "\n" if name in self._cut_short else ""
            self._cut_short.add(name)
            with (self.folder / name).open("a", encoding="utf-8") as file:
                file.write(f"{start}{line}\n")
            self._cut_short.discard(name)


class Control:
    """A run's commands at its far end, as the trainer asks: from files, and from `give` (a signal)."""

    def __init__(self, files: RunFiles) -> None:
        self._files, self._stopping = files, False
        self._waiting: list[Command] = []

    def give(self, word: Word) -> None:
        if word == "stop":
            self._stopping = True
        else:
            self._waiting.append(word)

    def should_stop(self) -> bool:
        self._look()
        return self._stopping

    def next_command(self) -> Command | None:
        self._look()
        return self._waiting.pop(0) if self._waiting else None

    def _look(self) -> None:
        for word in self._files.words():
            self.give(word)
