"""A job's own folder: `events.jsonl` for programs, `log.txt` for people."""

from __future__ import annotations

import json
import time
from pathlib import Path

from lora_studio.event_text import event_text
from lora_studio.events import Event, event_to_json


class EventLog:
    """The files of one job. Raises OSError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def folder(self) -> Path:
        return self._folder

    def add(self, event: Event, at: float) -> None:
        """Write one event, which came at unix time `at`, to both files."""
        line = event_text(event)
        self._append("events.jsonl", json.dumps({"at": at, **event_to_json(event)}))
        if line:
            self.tell(line, at)

    def tell(self, text: str, at: float) -> None:
        """Write free text, such as a traceback, to the log."""
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
        self._append("log.txt", f"{stamp}  {text}")

    def tail(self, lines: int) -> str:
        """The last lines of the log, read from the file's end; empty when there is none."""
        try:
            with (self._folder / "log.txt").open("rb") as file:
                size = file.seek(0, 2)
                file.seek(max(0, size - 300 * lines))
                text = file.read().decode("utf-8", "replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def _append(self, name: str, line: str) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / name).open("a", encoding="utf-8") as file:
            file.write(line + "\n")
