"""The near end of a run on a rented machine: sends what it needs, hears it, fetches what it makes."""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, TypeVar

from lora_studio.errors import NetworkLost, StudioError
from lora_studio.events import (
    CheckpointSaved,
    Commands,
    Emit,
    Event,
    Failed,
    Finished,
    Noted,
    Paused,
    PreviewSaved,
    ShouldStop,
    StateSaved,
    Stopped,
    event_from_json,
)
from lora_studio.files import write_atomically
from lora_studio.formatting import counted
from lora_studio.jobs.cloud.cloud_run import log_of, output_of
from lora_studio.jobs.cloud.cloud_settings import CloudSettings
from lora_studio.jobs.cloud.luggage import pack
from lora_studio.jobs.failure import error_of_far_end
from lora_studio.jobs.processes.hearing import Hearing
from lora_studio.jobs.processes.process_worker import TrainingEnded
from lora_studio.lora.run_states import newest_step, state_files, state_folder, step_of
from lora_studio.settings import Settings
from lora_studio.training_request import RunRequest

logger = logging.getLogger(__name__)

T = TypeVar("T")

LOOK_SECONDS = 0.5
SIGN_SECONDS = 10.0
RETRY_SECONDS, UNREACHABLE_SECONDS = 5.0, 600.0
"""Seconds between two tries to reach the far end, and until they end: then it pauses by itself."""
KEPT_STATES = 2


class CloudUnreachable(NetworkLost):
    """No connection for now."""


class Call(Protocol):
    """A run that was started over there."""

    def result(self) -> Mapping[str, Any] | None:
        """The far end's return value, None while it runs. Raises StudioError when it was ended."""
        ...

    def cancel(self) -> None: ...


class Cloud(Protocol):
    """The studio's connections to the place where a run is. All raise StudioError."""

    def upload(self, contents: Mapping[str, Path]) -> int:
        """Send files and folders that aren't there yet; returns how many were sent."""
        ...

    def start(self, order: Mapping[str, Any], *, seconds: float) -> Call: ...

    def batches(self, run: str) -> Sequence[Mapping[str, Any]]:
        """The batches of events since the last call."""
        ...

    def say(self, run: str, words: Sequence[str], mark: float) -> None:
        """Let the far end hear all words so far, and that the studio is there."""
        ...

    def files(self, folder: str) -> Sequence[str]:
        """Paths of all files in a folder over there, from the volume."""
        ...

    def fetch(self, place: str, target: Path) -> None:
        """Write a file from over there to `target`, whole or not at all."""
        ...

    def read(self, place: str) -> str:
        """The text of a file over there; empty when there is none."""
        ...

    def forget(self, run: str) -> None:
        """Remove what the run left over there."""
        ...


class CloudWorker:
    """A worker at `cloud`. A stop unanswered for `patience_seconds`, or five slowest steps, cancels."""

    def __init__(
        self, cloud: Cloud, settings: Settings, limits: CloudSettings, *, patience_seconds: float = 180.0
    ) -> None:
        self._cloud, self._settings, self._limits = cloud, settings, limits
        self._patience_seconds = patience_seconds

    def run(self, request: RunRequest, emit: Emit, should_stop: ShouldStop) -> None:
        """Train until the end, a stop or a pause. Raises StudioError, in the far end's words if it is its."""
        run = secrets.token_hex(8)
        limits = self._limits
        luggage = pack(request, run, self._settings, seconds=limits.seconds, usd=limits.max_usd)
        sent = self._cloud.upload(luggage.contents)
        what = (
            f"{counted(sent, 'set')} of files sent" if sent else "Nothing has to be sent: all files are there"
        )
        emit(Noted(message=f"{what}. At most ${limits.max_usd:.2f} on one {limits.gpu}."))
        if should_stop():
            emit(Stopped(step=newest_step(request.resume_from)))
            return
        call = self._cloud.start(luggage.order, seconds=limits.seconds)
        landing = Landing(cloud=self._cloud, run=run, config_json=request.config.to_json())
        hearing = Hearing(emit=emit, should_stop=should_stop, through=landing.land)
        try:
            result = self._follow(call, run, hearing, request.commands)
        except BaseException:
            call.cancel()
            raise
        try:
            self._end(hearing, landing, result)
        finally:
            with suppress(StudioError):
                self._cloud.forget(run)

    def _follow(self, call: Call, run: str, hearing: Hearing, commands: Commands) -> Mapping[str, Any] | None:
        """Pass events and commands on; the far end's result, or None where it had to be cancelled."""
        words: list[str] = []
        heard, said_at = Heard(self._cloud, run), 0.0
        while True:
            ended = patiently(call.result)
            patiently(lambda: hearing.take(heard.new()))
            if ended is not None:
                patiently(lambda: hearing.take(heard.rest()))
                return ended
            count = len(words)
            if hearing.should_stop() and not hearing.asked_to_stop:
                hearing.ask()
                words.append("stop")
            words.extend(iter(commands, None))
            if len(words) > count or time.monotonic() - said_at > SIGN_SECONDS:
                said_at = time.monotonic()
                patiently(partial(self._cloud.say, run, words, said_at))
            if hearing.is_unanswered(self._patience_seconds):
                call.cancel()
                return None
            time.sleep(LOOK_SECONDS)

    def _end(self, hearing: Hearing, landing: Landing, result: Mapping[str, Any] | None) -> None:
        """Emit the run's last word. Raises StudioError where it has none."""
        step = newest_step(landing.states)
        if result is None:
            note = "The training did not answer the stop in time, so it was cancelled."
            hearing.emit(Noted(message=note, level="warning"))
            hearing.emit(Stopped(step=step))
        elif failure := result.get("failure"):
            words = Failed(message=str(failure["message"]), hint=str(failure["hint"]))
            cause = TrainingEnded(str(failure.get("trace", "")))
            raise error_of_far_end(str(failure.get("error", "")), words) from cause
        elif hearing.last_word is None:
            raise StudioError("The training at Modal ended without a word.", "Its log is at modal.com.")
        else:
            last_word = hearing.last_word
            hearing.emit(patiently(lambda: landing.last(last_word)))


def patiently(work: Callable[[], T]) -> T:
    """Do it again until the far end can be reached. Raises CloudUnreachable after ten minutes."""
    give_up = time.monotonic() + UNREACHABLE_SECONDS
    while True:
        try:
            return work()
        except CloudUnreachable as error:
            if time.monotonic() >= give_up:
                raise
            logger.warning("%s", error)
            time.sleep(RETRY_SECONDS)


class Heard:
    """The run's events, in order, each once: what a batch lost is read from the file over there."""

    def __init__(self, cloud: Cloud, run: str) -> None:
        self.cloud, self.run, self.attempt, self.count = cloud, run, 1, 0

    def new(self) -> Iterator[Event]:
        """The events since the last look, again where the next was never asked for: that one failed."""
        for batch in self.cloud.batches(self.run):
            attempt, first, events = int(batch["attempt"]), int(batch["first"]), batch["events"]
            if attempt < self.attempt:
                continue
            if attempt > self.attempt:
                yield from self.rest()
                self.attempt, self.count = attempt, 0
            if first > self.count:
                yield from self._from_file(first)
            if first > self.count:
                continue  # the file isn't there so far yet, and holds this batch too
            yield from self._counted(events[max(0, self.count - first) :])

    def rest(self) -> Iterator[Event]:
        """The events that only the file has."""
        return self._from_file(None)

    def _from_file(self, end: int | None) -> Iterator[Event]:
        lines = self.cloud.read(log_of(self.run, self.attempt)).splitlines()[self.count : end]
        return self._counted(lines)

    def _counted(self, found: Sequence[Any]) -> Iterator[Event]:
        for data in found:
            if event := _event(data):
                yield event
            self.count += 1


def _event(data: Any) -> Event | None:
    """The event of a line or of its JSON."""
    try:
        return event_from_json(json.loads(data) if isinstance(data, str) else data)
    except (ValueError, TypeError, AttributeError, RecursionError):
        logger.warning("an event of the far end can't be read")
        return None


@dataclass(kw_only=True)
class Landing:
    """The place where the run's files come down: its events name them by their places here."""

    cloud: Cloud
    run: str
    config_json: Mapping[str, Any]
    _fetched: set[str] = field(default_factory=set)

    @property
    def output(self) -> Path:
        return Path(self.config_json["output"]["output_dir"])

    @property
    def states(self) -> Path:
        return state_folder(self.output)

    def land(self, event: Event) -> Event:
        """The event after its files have arrived."""
        match event:
            case PreviewSaved():
                return replace(
                    event, path=str(self._bring(event.path)), base_path=str(self._bring(event.base_path))
                )
            case CheckpointSaved() | StateSaved():
                path = self._bring(event.path)
                if isinstance(event, StateSaved):
                    for old in state_files(self.states)[KEPT_STATES:]:
                        old.unlink(missing_ok=True)
                return replace(event, path=str(path))
        return event

    def last(self, event: Event) -> Event:
        """A last word, after all that is left over there has arrived. A finished run has no states."""
        if isinstance(event, Finished | Stopped) and event.path:
            for place in self.cloud.files(output_of(self.run)):
                if PurePosixPath(place).relative_to(output_of(self.run)).parts[0] != self.states.name:
                    self._bring(place)
            self._own_settings()
            event = replace(event, path=str(self.output))
        if isinstance(event, Finished):
            for path in state_files(self.states):
                path.unlink(missing_ok=True)
            with suppress(OSError):
                self.states.rmdir()
        elif isinstance(event, Stopped | Paused):
            newest = max(self._states_there(), key=lambda place: step_of(Path(place)), default=None)
            if newest:
                self._bring(newest)
        return event

    def _states_there(self) -> list[str]:
        folder = f"{output_of(self.run)}/{self.states.name}"
        return [place for place in self.cloud.files(folder) if step_of(Path(place))]

    def _bring(self, path: str) -> Path:
        """Fetch a file of the run's output folder, once, and say where it is here."""
        inside = path.replace("\\", "/").partition(f"{output_of(self.run)}/")[2]
        parts = PurePosixPath(inside).parts
        if not parts or ".." in parts or PurePosixPath(inside).anchor or Path(inside).anchor:
            raise StudioError(f"The training at Modal named the file {path!r}, which is none of its own.")
        target = self.output.joinpath(*parts)
        if inside not in self._fetched:
            self.cloud.fetch(f"{output_of(self.run)}/{inside}", target)
            self._fetched.add(inside)
        return target

    def _own_settings(self) -> None:
        """Let training.json name the places of this machine, as for a training that ran here."""
        file = self.output / "training.json"
        with suppress(OSError, ValueError):
            data = json.loads(file.read_text("utf-8"))
            data["config"] = self.config_json
            write_atomically(file, json.dumps(data, indent=2) + "\n")
