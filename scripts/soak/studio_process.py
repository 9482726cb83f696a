"""The studio under load: app.py as people start it, with a login, and a look inside when one is wanted."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

CHECKOUT = Path(__file__).resolve().parents[2]
PATIENCE = 600.0
OWNER, PASSWORD = "studio", "soak for a while"
TROUBLE = re.compile(r"Traceback|\bERROR\b|\bCRITICAL\b|\bbug [0-9a-f]{6}\b|[A-Za-z](?:Error|Exception)\b")
POOLS = re.compile(r"AnyIO worker thread|ThreadPoolExecutor|asyncio_")
"""Threads of pools that grow with the load, and stay."""
LOOK = """
import gc, json, os, signal, threading

def look(number, frame):
    gc.collect()
    names = [thread.name for thread in threading.enumerate()]
    with open(os.environ["SOAK_LOOK"] + ".part", "w") as file:
        json.dump(names, file)
    os.replace(os.environ["SOAK_LOOK"] + ".part", os.environ["SOAK_LOOK"])

signal.signal(signal.SIGUSR1, look)
"""
"""Read by Python when it starts: the command line stays the one that people type."""


@dataclass(frozen=True, kw_only=True)
class Idle:
    """The process while nobody does anything, after a garbage collection."""

    rss: int
    files: int
    threads: Counter[str]


@dataclass(kw_only=True)
class StudioProcess:
    """`printed` are the lines printed so far."""

    process: subprocess.Popen[str]
    folder: Path
    address: str = ""
    printed: list[str] = field(default_factory=list)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def models(self) -> Path:
        return self.folder / "models"

    def idle(self) -> Idle:
        """Collect garbage there, and measure."""
        seen = self.folder / "look"
        seen.unlink(missing_ok=True)
        self.process.send_signal(signal.SIGUSR1)
        give_up = time.monotonic() + PATIENCE
        while not seen.exists():
            assert time.monotonic() < give_up, "the studio does not answer"
            time.sleep(0.05)
        names = json.loads(seen.read_text("utf-8"))
        threads = Counter("pool" if POOLS.search(name) else re.sub(r"\d+", "#", name) for name in names)
        facts = psutil.Process(self.process.pid)
        return Idle(rss=facts.memory_info().rss, files=facts.num_fds(), threads=threads)

    def add_people(self, names: list[str]) -> None:
        """People who may train as much as they like, all with the same password: pages share an account."""
        from lora_studio.access.quotas import Use
        from lora_studio.access.roles import Role
        from lora_studio.store.database import Database
        from lora_studio.store.people.people import People

        with closing(Database(self.home / "studio.db")) as database:
            for name in names:
                People(database).add(name, Role.TRAINER, PASSWORD)
                People(database).set_limits(name, {Use.TRAININGS: None, Use.GENERATIONS: None})

    def end(self) -> int:
        """SIGTERM, as by a service manager; the exit code."""
        self.process.terminate()
        return self.process.wait(PATIENCE)

    def trouble(self) -> list[str]:
        """Lines that no use may bring about."""
        return [line.rstrip() for line in self.printed if TROUBLE.search(line)]


@contextmanager
def running_studio(folder: Path) -> Iterator[StudioProcess]:
    """The studio with its state in `folder`, once it has printed where it is."""
    site = folder / "site"
    site.mkdir(parents=True)
    (site / "sitecustomize.py").write_text(LOOK, "utf-8")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-u", "app.py", "--port", str(port)],
        cwd=CHECKOUT,
        env={**os.environ, **environment(folder), "PYTHONPATH": str(site), "SOAK_LOOK": str(folder / "look")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
    )
    studio = StudioProcess(process=process, folder=folder)
    lines: queue.Queue[str | None] = queue.Queue()
    reader = threading.Thread(target=_read, args=(studio, lines), daemon=True)
    reader.start()
    try:
        while not studio.address:
            line = lines.get(timeout=PATIENCE)
            assert line is not None, "app.py ended: " + "".join(studio.printed)
            if found := re.search(r"open at (http://\S+)", line):
                studio.address = found[1].rstrip("/")
        yield studio
    finally:
        process.kill()
        process.wait()
        reader.join(PATIENCE)


def environment(folder: Path) -> dict[str, str]:
    return {
        "LORA_STUDIO_HOME": str(folder / "home"),
        "LORA_STUDIO_MODELS": str(folder / "models"),
        "LORA_STUDIO_PASSWORD": PASSWORD,
        "LORA_STUDIO_RESULT_PICTURES": "0",  # each picture that is drawn is one that a client asked for
        "LORA_STUDIO_KEEP_FREE_GB": "0.1",
        "PYTHONIOENCODING": "utf-8",
    }


def _read(studio: StudioProcess, lines: queue.Queue[Any]) -> None:
    assert studio.process.stdout
    with studio.process.stdout as output:
        for line in output:
            studio.printed.append(line)
            lines.put(line)
    lines.put(None)
