"""The real app in a process of its own, for tests that come in through its port."""

from __future__ import annotations

import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.waiting import PATIENCE

CHECKOUT = Path(__file__).resolve().parents[2]
DRAWN = CHECKOUT / "models" / "starter" / "regularisation" / "1_things"
"""Pictures that the starter drew of things."""


@dataclass
class App:
    """`address` ends with a slash; `said` are the lines printed so far."""

    process: subprocess.Popen[str]
    home: Path
    models: Path
    address: str = ""
    said: list[str] = field(default_factory=list)

    @property
    def port(self) -> int:
        return urlsplit(self.address).port or 0

    def end(self) -> int:
        """SIGTERM, or what there is of it on Windows; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


@contextmanager
def running_app(folder: Path, arguments: Sequence[str] = (), **environment: str) -> Iterator[App]:
    """app.py with its state in `folder`, once it has printed where it is. It draws no pictures by itself
    unless the environment says so."""
    environment = {"LORA_STUDIO_RESULT_PICTURES": "0", **environment}
    with running(_start(folder, arguments, environment), folder) as app:
        yield app


@contextmanager
def running(process: subprocess.Popen[str], folder: Path) -> Iterator[App]:
    """The app of a process that has its state in `folder`, once it has printed where it is."""
    app = App(process=process, home=folder / "home", models=folder / "models")
    lines: queue.Queue[str | None] = queue.Queue()
    reader = threading.Thread(target=_read, args=(app, lines), daemon=True)
    reader.start()
    try:
        while not app.address:
            line = lines.get(timeout=PATIENCE)
            assert line is not None, "app.py ended: " + "".join(app.said)
            if found := re.search(r"open at (http://\S+)", line):
                app.address = found[1].rstrip("/") + "/"
        yield app
    finally:
        app.process.kill()  # its ending in order takes seconds; who tests that calls `end` before
        app.process.wait()
        reader.join(PATIENCE)
        if app.process.stdout:
            app.process.stdout.close()


def start_again(app: App) -> subprocess.Popen[str]:
    """app.py once more at the same address, over the same state. What it prints is not read."""
    port = int(app.address.rstrip("/").rsplit(":", 1)[1])
    return _start(app.home.parent, (), {}, port, subprocess.DEVNULL)


def _start(
    folder: Path,
    arguments: Sequence[str],
    environment: dict[str, str],
    port: int = 0,
    said: int = subprocess.PIPE,
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-u", "app.py", "--port", str(port or free_port()), *arguments],
        cwd=CHECKOUT,
        env={
            **os.environ,
            "LORA_STUDIO_HOME": str(folder / "home"),
            "LORA_STUDIO_MODELS": str(folder / "models"),
            "PYTHONIOENCODING": "utf-8",
            **environment,
        },
        stdout=said,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
    )


def _read(app: App, lines: queue.Queue[str | None]) -> None:
    assert app.process.stdout
    for line in app.process.stdout:
        app.said.append(line)
        lines.put(line)
    lines.put(None)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
