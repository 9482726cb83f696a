"""Progress of a run on the terminal: one bar that moves, or plain lines where nobody watches.

Not by rich: half of this is what happens without a terminal, and its bars are drawn from a thread beside the
one that trains.
"""

from __future__ import annotations

import shutil
import time
from collections import deque
from typing import TextIO

from lora_studio.event_text import event_text
from lora_studio.events import (
    PHASES,
    CheckpointSaved,
    Denoised,
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
)
from lora_studio.formatting import duration

BAR_WIDTH = 24
SHORT_PHASES = {"load", "preview", "save"}


class Progress:
    """The events of a run on a stream. On a terminal the last line is a bar, redrawn in place at most ten
    times a second; elsewhere a phase gives a line at its start and then one each tenth, a short one only at
    its end."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._live = stream.isatty()
        self._ascii = not _can_write(stream, "█░")
        self._line = ""
        self._drawn_at = 0.0
        self._tenths: dict[str, int] = {}
        self._seconds: deque[float] = deque(maxlen=20)

    def show(self, event: Event) -> None:
        match event:
            case PhaseAdvanced():
                self._move(event.phase, event.done, event.total, event.note)
            case StepDone():
                self._seconds.append(event.seconds)
                self._move("train", event.step, event.total_steps, self._step_facts(event))
            case Denoised():
                done = (event.image - 1) * event.total_steps + event.step * event.together
                last = event.image + event.together - 1
                which = f"image {last}" if event.together == 1 else f"images {event.image} to {last}"
                self._move(
                    "generate",
                    done,
                    event.images * event.total_steps,
                    f"{which} of {event.images}",
                )
            case Finished() | Failed() | Stopped() | Paused():
                self.close()
            case Queued(ahead=0) | PreviewSaved(step=0) | CheckpointSaved(final=True):
                pass
            case Started() if "generate" in event.phases:
                pass
            case Queued() | Started() | PreviewSaved() | CheckpointSaved() | Noted() | Validated():
                self.say(event_text(event, paths=True))
            case _:
                pass

    def say(self, text: str) -> None:
        """Write a line that stays, above the bar."""
        self._clear()
        self._stream.write(f"{text}\n")
        self._redraw()

    def close(self) -> None:
        """Leave the last bar on the screen and go to a fresh line."""
        if self._live and self._line:
            self._redraw()
            self._stream.write("\n")
        self._line = ""
        self._stream.flush()

    def _step_facts(self, event: StepDone) -> str:
        left = (event.total_steps - event.step) * sum(self._seconds) / len(self._seconds)
        return f"step {event.step}/{event.total_steps}  loss {event.average_loss:.4f}  {duration(left)} left"

    def _move(self, phase: str, done: int, total: int, note: str) -> None:
        share = min(1.0, done / total) if total > 0 else 0.0
        word = PHASES[phase].title if phase in PHASES else phase
        if not self._live:
            self._plain(phase, word, share, note)
            return
        self._line = f"{word} {draw_bar(share, ascii_only=self._ascii)} {share:4.0%}  {note}".rstrip()
        now = time.monotonic()
        if share >= 1 or now - self._drawn_at >= 0.1:
            self._drawn_at = now
            self._redraw()

    def _plain(self, phase: str, word: str, share: float, note: str) -> None:
        tenth = int(share * 10 + 1e-9)
        if phase in SHORT_PHASES and share < 1:
            self._tenths.pop(phase, None)
            return
        if share < 1 and self._tenths.get(phase) == 10:
            self._tenths.pop(phase)  # the phase has begun anew, as previews do
        if tenth > self._tenths.get(phase, -1):
            self._tenths[phase] = tenth
            self._stream.write(f"{word} {share:.0%}  {note}".rstrip() + "\n")
            self._stream.flush()

    def _clear(self) -> None:
        if self._live and self._line:
            self._stream.write("\r\x1b[2K")

    def _redraw(self) -> None:
        if self._live and self._line:
            columns = shutil.get_terminal_size().columns
            self._stream.write(f"\r\x1b[2K{self._line[: columns - 1]}")
        self._stream.flush()


def draw_bar(share: float, *, width: int = BAR_WIDTH, ascii_only: bool = False) -> str:
    """A bar of `width` characters, filled to `share`, 0 to 1."""
    full = int(min(1.0, max(0.0, share)) * width + 0.5)
    filled, empty = ("#", ".") if ascii_only else ("█", "░")
    return filled * full + empty * (width - full)


def _can_write(stream: TextIO, text: str) -> bool:
    try:
        text.encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
