"""A job's own folder: `events.jsonl` for programs, `log.txt` for people."""

from __future__ import annotations

import json
import time
from pathlib import Path

from lora_studio.events import (
    CheckpointSaved,
    Event,
    Failed,
    Finished,
    Noted,
    Paused,
    PhaseAdvanced,
    PreviewSaved,
    Queued,
    Started,
    StepDone,
    Stopped,
    Validated,
    event_to_json,
)

LINES_OF_TRAINING = 50
"""So many lines of the log tell of steps, however many steps there are."""


class Journal:
    """Appends to the files of one job. Raises OSError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def folder(self) -> Path:
        return self._folder

    def add(self, event: Event, at: float) -> None:
        """Write one event, which came at unix time `at`, to both files."""
        line = describe(event)
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


def describe(event: Event) -> str:
    """An event as a line for people; empty for those that would only repeat."""
    match event:
        case Queued():
            return f"Waiting, {event.ahead} ahead." if event.ahead else "Waiting."
        case Started():
            resumed = f", from step {event.start_step}" if event.start_step else ""
            return (
                f"Started on {event.device} in {event.dtype}: {event.images} pictures, "
                f"{event.total_steps} steps{resumed}."
            )
        case PhaseAdvanced():
            note = f" ({event.note})" if event.note else ""
            return f"{event.phase}: done{note}" if event.done >= event.total else ""
        case StepDone():
            every = max(1, event.total_steps // LINES_OF_TRAINING)
            if event.step % every and event.step != event.total_steps:
                return ""
            return (
                f"Step {event.step} of {event.total_steps}: loss {event.average_loss:.4f}, "
                f"learning rate {event.learning_rate:.2e}, {event.seconds:.2f} s"
            )
        case PreviewSaved():
            return f"Preview at step {event.step}: {Path(event.path).name}"
        case CheckpointSaved():
            return f"Saved at step {event.step}: {Path(event.path).name}"
        case Noted():
            return f"{'Warning: ' if event.level == 'warning' else ''}{event.message}"
        case Finished():
            return f"Finished after {event.steps} steps in {event.seconds:.0f} s: {event.path}"
        case Stopped():
            return f"Stopped at step {event.step}." + (f" Kept: {event.path}" if event.path else "")
        case Paused():
            return f"Paused at step {event.step}."
        case Validated():
            base = f" (base {event.base_loss:.4f})" if event.base_loss is not None else ""
            return f"Loss on the pictures held back at step {event.step}: {event.loss:.4f}{base}"
        case Failed():
            return f"Failed: {event.message} {event.hint}".rstrip()
    return ""
