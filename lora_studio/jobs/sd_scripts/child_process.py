"""A child process: its output line by line as it comes, and an end that takes its children along."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

LONGEST_LINE = 65_536
END = re.compile(rb"[\r\n]+")
DRAIN_SECONDS = 2.0
KILL = getattr(signal, "SIGKILL", signal.SIGTERM)


class Child:
    """A running child. stdout and stderr are one stream, all of which goes to `log` too, one state of a
    redrawn line after the other. Raises OSError when the program can't be started."""

    def __init__(
        self, command: Sequence[str], *, folder: Path, environment: Mapping[str, str], log: Path
    ) -> None:
        self._chunks: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._lines: deque[str] = deque()
        self._splitter = Splitter()
        self._ended = False
        self._process = subprocess.Popen(
            list(command),
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            **_group_of_its_own(),
        )
        self._reader = threading.Thread(target=self._read, args=(log,), name="child's output", daemon=True)
        self._reader.start()

    def line(self, timeout: float) -> str | None:
        """The next line; None at the output's end. Raises TimeoutError after `timeout` seconds without."""
        while not self._lines:
            if self._ended:
                return None
            try:
                chunk = self._chunks.get(timeout=timeout)
            except queue.Empty:
                if not self._pause():
                    raise TimeoutError from None
            else:
                self._ended = not chunk
                self._lines += self._splitter.feed(chunk) if chunk else self._splitter.finish()
        return self._lines.popleft()

    def wait(self) -> int:
        """The exit code, once the child has ended by itself; below 0 it is a signal's number."""
        return self._process.wait()

    def stop(self, grace_seconds: float) -> int:
        """Ask the child to end; after `grace_seconds` end it with all its children. Returns the exit code."""
        if self._process.poll() is None:
            _signal_group(self._process, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(grace_seconds)
            _signal_group(self._process, KILL)
        return self._process.wait()

    def _pause(self) -> bool:
        """Look, after a silence, for a bar that was drawn last and for the end; False if there is neither."""
        self._lines += self._splitter.drawn()
        if self._process.poll() is not None and not self._lines:
            # A grandchild may still hold the pipe; what the child itself said is here soon.
            self._reader.join(DRAIN_SECONDS)
            self._ended = self._chunks.empty()
            self._lines += self._splitter.finish() if self._ended else []
        return bool(self._lines) or self._ended or not self._chunks.empty()

    def _read(self, log: Path) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output, log.open("ab", buffering=0) as file:
            while chunk := os.read(output.fileno(), 65_536):
                with contextlib.suppress(OSError):  # a full disk must not end whoever prints
                    file.write(chunk.replace(b"\r", b"\n"))
                self._chunks.put(chunk)
        self._chunks.put(b"")


class Splitter:
    """Lines between carriage returns and line ends, not empty; odd bytes become question marks."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[str]:
        *whole, self._rest = END.split(self._rest + chunk)
        if len(self._rest) > LONGEST_LINE:
            whole, self._rest = [*whole, self._rest], b""
        return [line.decode("utf-8", "replace") for line in whole if line.strip()]

    def drawn(self) -> list[str]:
        """A bar at the end of the output, whose carriage return comes only with its next state."""
        return self.finish() if self._rest.rstrip().endswith(b"]") else []

    def finish(self) -> list[str]:
        rest, self._rest = self._rest, b""
        return [rest.decode("utf-8", "replace")] if rest.strip() else []


def _group_of_its_own() -> dict[str, Any]:
    """Options that keep Ctrl+C on our terminal from the child, which we end ourselves."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    """Send a signal to the child and its children, which may be gone already."""
    try:
        if sys.platform == "win32":
            if number == KILL or process.poll() is None:
                subprocess.run(
                    ["taskkill", "/F", "/T", "/PID", str(process.pid)], capture_output=True, check=False
                )
        else:
            os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return
