"""A rehearsal of a rented machine on this one: the far end's real body in a thread, its volume a folder."""

from __future__ import annotations

import queue
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lora_studio.errors import StoreError
from lora_studio.files import copy_atomically, disk_errors
from lora_studio.jobs.cloud.cloud_run import Channel, folder_of
from lora_studio.jobs.cloud.luggage import files_of

Body = Callable[[Mapping[str, Any], Path, Channel], Mapping[str, Any]]


class LocalChannel:
    """The far end's connections to a studio in the same process."""

    def __init__(self) -> None:
        self.batches: queue.SimpleQueue[Mapping[str, Any]] = queue.SimpleQueue()
        self.words: tuple[str, ...] = ()

    def send(self, batch: Mapping[str, Any]) -> None:
        self.batches.put(batch)

    def keep(self) -> None:
        """Files of a folder last by themselves."""

    def listen(self) -> tuple[Sequence[str], float]:
        return self.words, time.monotonic()


class LocalCall:
    """The far end's body in a thread."""

    def __init__(self, work: Callable[[], Mapping[str, Any]]) -> None:
        self._result: list[Mapping[str, Any]] = []
        self._thread = threading.Thread(
            target=lambda: self._result.append(work()), name="local cloud", daemon=True
        )
        self._thread.start()

    def result(self) -> Mapping[str, Any] | None:
        """The body's return value, None while it runs. Raises StoreError when it broke off."""
        if self._thread.is_alive():
            return None
        if not self._result:
            raise StoreError("The training broke off.", "The details are in the program's log.")
        return self._result[0]

    def cancel(self) -> None:
        """A thread can't be ended from outside."""


class LocalCloud:
    """A Cloud whose volume is a folder of this machine."""

    def __init__(self, volume: Path, body: Body) -> None:
        self._volume, self._body = volume, body
        self._channels: dict[str, LocalChannel] = {}

    def upload(self, contents: Mapping[str, Path]) -> int:
        """Copy what isn't there yet; see Cloud."""
        sent = 0
        for place, path in contents.items():
            target = self._volume / place
            if target.exists():
                continue
            unfinished = target.with_name(f".{target.name}")
            with disk_errors(f"{path.name}", "copied"):
                for name, file in files_of(path):
                    copy_atomically(file, unfinished / name if name else unfinished)
                unfinished.replace(target)
            sent += 1
        return sent

    def start(self, order: Mapping[str, Any], *, seconds: float) -> LocalCall:
        channel = self._channels[str(order["run"])] = LocalChannel()
        return LocalCall(lambda: self._body(order, self._volume, channel))

    def batches(self, run: str) -> Sequence[Mapping[str, Any]]:
        found, waiting = [], self._channels[run].batches
        while not waiting.empty():
            found.append(waiting.get())
        return found

    def say(self, run: str, words: Sequence[str], mark: float) -> None:
        self._channels[run].words = tuple(words)

    def files(self, folder: str) -> Sequence[str]:
        place = self._volume / folder
        return [f"{folder}/{name}" for name, _ in files_of(place)] if place.is_dir() else []

    def fetch(self, place: str, target: Path) -> None:
        with disk_errors(target.name, "fetched"):
            copy_atomically(self._volume / place, target)

    def read(self, place: str) -> str:
        try:
            return (self._volume / place).read_text("utf-8", "replace")
        except OSError:
            return ""

    def forget(self, run: str) -> None:
        self._channels.pop(run, None)
        shutil.rmtree(self._volume / folder_of(run), ignore_errors=True)
