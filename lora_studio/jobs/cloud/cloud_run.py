"""The far end of a run on a rented machine: it trains on files of a lasting volume, goes on from its own last
state when the machine was taken away, and ends before it costs more than it may."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from lora_studio.config import TrainConfig
from lora_studio.errors import ConfigError
from lora_studio.events import (
    CheckpointSaved,
    Event,
    Finished,
    Noted,
    Paused,
    PreviewSaved,
    StateSaved,
    Stopped,
    event_to_json,
)
from lora_studio.files import write_atomically
from lora_studio.jobs.cloud.luggage import VERSION
from lora_studio.jobs.failure import failure_of
from lora_studio.jobs.processes.run_files import WORDS, Control, RunFiles
from lora_studio.lora.run_states import state_files, state_folder
from lora_studio.training_request import RunRequest

logger = logging.getLogger(__name__)

SEND_SECONDS = 1.0
LISTEN_SECONDS = 2.0
KEEP_SECONDS = 60.0
SILENCE_SECONDS = 600.0
"""Seconds without a sign of the studio after which the run pauses: nobody would see what it costs."""
BRINGS_FILES = (PreviewSaved, CheckpointSaved, StateSaved, Finished, Stopped, Paused)
NOT_HEARD = "The studio was not heard of for ten minutes, so the training pauses rather than to cost money."


class Channel(Protocol):
    """The far end's connections. `send` passes a batch of events on, `keep` makes files lasting, `listen`
    returns all words so far and a mark that changes while the studio is there."""

    def send(self, batch: Mapping[str, Any]) -> None: ...

    def keep(self) -> None: ...

    def listen(self) -> tuple[Sequence[str], float]: ...


def folder_of(run: str) -> str:
    """The run's folder on the volume."""
    return f"runs/{run}"


def output_of(run: str) -> str:
    """The folder on the volume that stands for the training's output folder."""
    return f"{folder_of(run)}/lora"


def log_of(run: str, attempt: int) -> str:
    """The file of all events of one attempt at the run."""
    return f"{folder_of(run)}/attempt-{attempt}/events.jsonl"


def run_order(order: Mapping[str, Any], volume: Path, channel: Channel) -> dict[str, Any]:
    """Train as `order` says (luggage.pack), the volume in this folder; `{}`, or the words of a `failure`."""
    try:
        if order["version"] != VERSION:
            raise ConfigError(
                "The app at Modal is of another version than this studio.",
                "Deploy it again: modal deploy deploy/modal_app.py",
            )
        attempt = Attempt(run=str(order["run"]), volume=volume, seconds=float(order["seconds"]))
        sender = Sender(
            attempt=attempt,
            channel=channel,
            usd=float(order["usd"]),
            attended=bool(order["attended"]),
        )
        with sender.at_work():
            _train(order, attempt, sender)
    except (Exception, SystemExit) as error:  # the worker: the studio wants to know, whatever it was
        failure = failure_of(error)
        words = {"message": failure.message, "hint": failure.hint}
        trace = traceback.format_exc()
        logger.warning("%s", trace)
        return {"failure": {**words, "error": type(error).__name__, "trace": trace}}
    return {}


def _train(order: Mapping[str, Any], attempt: Attempt, sender: Sender) -> None:
    from lora_studio.trainer import train

    request = request_of(order, attempt.volume)
    train(
        request.config,
        sender.emit,
        sender.should_stop,
        resume_from=request.resume_from,
        fork=request.fork,
        commands=sender.control.next_command,
    )


def request_of(order: Mapping[str, Any], volume: Path) -> RunRequest:
    """The run with its places on the volume. What an earlier attempt left there comes first: the machine may
    have been taken away in the middle. Raises ConfigError."""
    output = volume / output_of(order["run"])
    config = TrainConfig.from_json(order["config"])
    places = {name: str(volume / place) for name, place in order["places"].items()}
    config = config.with_values({**places, "output_dir": str(output)})
    states = state_folder(output)
    if state_files(states):
        return RunRequest(config=config, resume_from=states)
    given = volume / order["resume_from"] if order["resume_from"] else None
    return RunRequest(config=config, resume_from=given, fork=bool(order["fork"]))


@dataclass(kw_only=True)
class Attempt:
    """One life of the run's machine. `number` counts them from 1; the seconds of all count."""

    run: str
    volume: Path
    seconds: float
    begun: float = field(default_factory=time.monotonic)
    number: int = field(init=False)
    earlier: float = field(init=False)

    def __post_init__(self) -> None:
        before: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError):
            before = json.loads(self._file.read_text("utf-8"))
        self.number, self.earlier = int(before.get("attempts", 0)) + 1, float(before.get("seconds", 0.0))
        self.note()

    @property
    def _file(self) -> Path:
        return self.volume / folder_of(self.run) / "spent.json"

    @property
    def folder(self) -> Path:
        return (self.volume / log_of(self.run, self.number)).parent

    @property
    def spent(self) -> float:
        """Seconds of this attempt and those before."""
        return self.earlier + time.monotonic() - self.begun

    @property
    def is_over(self) -> bool:
        return self.spent >= self.seconds

    def note(self) -> None:
        """Write down what was spent, for the next attempt."""
        write_atomically(self._file, json.dumps({"attempts": self.number, "seconds": self.spent}))


@dataclass(kw_only=True)
class Sender:
    """The trainer's events on their way to the studio, at most once a second but for those that bring files,
    and the studio's words on their way back; `attended` where a studio gives signs of itself."""

    attempt: Attempt
    channel: Channel
    usd: float
    attended: bool = True
    sent: int = 0
    waiting: list[dict[str, Any]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _done: threading.Event = field(default_factory=threading.Event)
    _limit_told: bool = False

    def __post_init__(self) -> None:
        self.files = RunFiles(self.attempt.folder)
        self.files.folder.mkdir(parents=True, exist_ok=True)
        self.control = Control(self.files)

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Send and listen in threads meanwhile; everything is sent and kept at the end."""
        threads = [
            threading.Thread(target=self._every, args=(SEND_SECONDS, self._flush), daemon=True),
            threading.Thread(target=self._every, args=(LISTEN_SECONDS, _Listener(self).look), daemon=True),
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._done.set()
            for thread in threads:
                thread.join(30.0)
            self.keep()
            self._flush()

    def emit(self, event: Event) -> None:
        with self._lock:
            self.files.add(event)
            self.waiting.append(event_to_json(event))
        if isinstance(event, BRINGS_FILES):
            self.keep()
            self._flush()

    def keep(self) -> None:
        """Make lasting what was written and spent so far, if that can be done now."""
        try:
            self.attempt.note()
            self.channel.keep()
        except Exception:  # the event fan-out: what comes later is kept with the next
            logger.exception("files can't be kept for now")

    def should_stop(self) -> bool:
        """Whether the studio wants so, or the money is spent."""
        if self.attempt.is_over and not self._limit_told:
            self._limit_told = True
            note = (
                f"The training has cost about ${self.usd:.2f}, the most it may, so it is saved and stopped. "
                "With a higher LORA_STUDIO_MODAL_MAX_USD it can be resumed."
            )
            self.emit(Noted(message=note, level="warning"))
        return self._limit_told or self.control.should_stop()

    def _flush(self) -> None:
        with self._lock:  # also while sending: batches must not overtake each other
            if not self.waiting:
                return
            batch = {"attempt": self.attempt.number, "first": self.sent, "events": self.waiting}
            try:
                self.channel.send(batch)
            except Exception:  # the event fan-out: the studio reads the file where a batch is missing
                logger.exception("events can't be sent for now")
            self.sent, self.waiting = self.sent + len(self.waiting), []

    def _every(self, seconds: float, work: Callable[[], None]) -> None:
        while not self._done.wait(seconds):
            try:
                work()
            except Exception:  # the event fan-out: a bad connection is no reason to end a training
                logger.exception("no connection to the studio for now")


class _Listener:
    """Hands the studio's new words to the run, and pauses it when there is no studio any more."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._read, self._mark, self._marked_at = 0, 0.0, time.monotonic()
        self._kept_at = time.monotonic()
        self._is_alone = False

    def look(self) -> None:
        if time.monotonic() - self._kept_at > KEEP_SECONDS:  # a machine taken away has cost this as well
            self._kept_at = time.monotonic()
            self._sender.keep()
        words, mark = self._sender.channel.listen()
        for word in words[self._read :]:
            if word in WORDS:
                self._sender.control.give(word)
        self._read = len(words)
        if mark != self._mark:
            self._mark, self._marked_at = mark, time.monotonic()
        elif self._is_long_ago() and self._sender.attended and not self._is_alone:
            self._is_alone = True
            self._sender.emit(Noted(message=NOT_HEARD, level="warning"))
            self._sender.control.give("pause")

    def _is_long_ago(self) -> bool:
        return time.monotonic() - self._marked_at > SILENCE_SECONDS
