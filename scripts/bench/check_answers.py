"""The time of answers while a set is checked: python -m scripts.bench.check_answers [--pictures N]

One app.py in a process of its own over a home with a set of PNGs of 4:3. Before and while `/check_dataset`
runs, one client asks for the revision and for `/list_edits` in turns, another for the check's progress. Wall
times on a shared machine are upper limits.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lora_studio.settings import Settings
from scripts.bench.page import Server
from scripts.bench.parts.big_set import make_set
from scripts.bench.startup import running_app, wait_for_page

PAUSE, BEFORE = 0.05, 3.0
"""Seconds between two questions of a client, and those that it asks before the check."""


class Client:
    """Somebody who asks and looks at the clock. `waits` are the milliseconds of each answer."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.waits: list[float] = []

    def ask(self, endpoint: str, *data: Any) -> Any:
        """The answer of an endpoint; without one, the revision."""
        path = f"gradio_api/run/{endpoint}" if endpoint else "revision"
        body = json.dumps({"data": data, "session_hash": "bench"}).encode() if endpoint else None
        request = urllib.request.Request(self.address + path, body, {"Content-Type": "application/json"})
        begun = time.perf_counter()
        try:
            with urllib.request.urlopen(request) as answer:
                content = json.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise SystemExit(f"{endpoint or 'revision'}: {error.read().decode()}") from error
        self.waits.append(1000 * (time.perf_counter() - begun))
        return content["data"][0] if endpoint else content

    def words(self) -> str:
        """The answers so far in a line, which are forgotten then."""
        waits, self.waits = sorted(self.waits), []
        if not waits:
            return "nothing was asked"
        late = waits[int(0.95 * (len(waits) - 1))]
        return (
            f"median {statistics.median(waits):.0f}, 95 of 100 {late:.0f}, slowest {waits[-1]:.0f} ms of "
            f"{len(waits)}; above 200 ms: {sum(wait > 200 for wait in waits)}"
        )


def until(is_over: Callable[[], bool], client: Client, dataset_id: str) -> None:
    """Let a client ask for the revision and the edits in turns."""
    while not is_over():
        client.ask("")
        time.sleep(PAUSE)
        client.ask("list_edits", dataset_id)
        time.sleep(PAUSE)


def measure(address: str, server: Server, dataset_id: str) -> None:
    """Print the figures of a first check and of a second one for another trigger word."""
    page, progress = Client(address), Client(address)
    begun = time.perf_counter()
    until(lambda: time.perf_counter() - begun > BEFORE, page, dataset_id)
    print("answers before:", page.words())
    for what, trigger in (("all checks", "zwx"), ("for another trigger word", "zwy")):
        ended = threading.Event()
        looker = threading.Thread(target=until, args=(ended.is_set, page, dataset_id))
        begun, spent = time.perf_counter(), server.cpu()
        looker.start()
        asked = (dataset_id, "object", trigger, "starter", {}, False)
        while (status := progress.ask("check_dataset", *asked))["state"] == "running":
            time.sleep(0.25)
        seconds = time.perf_counter() - begun
        ended.set()
        looker.join()
        print(f"{what}: {status['state']} in {seconds:.1f} s, {server.cpu() - spent:.1f} of the processor")
        print("  answers meanwhile:", page.words())
        print("  of /check_dataset:", progress.words())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=500)
    parser.add_argument("--side", type=int, default=1632, help="longer side in pixels (default: 1632)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as top:
        home = Path(top) / "home"
        size = (given.side, given.side * 3 // 4)
        record = make_set(Settings(home=home, models=home / "models"), given.pictures, size)
        with running_app(home) as (process, address, _):
            wait_for_page(address, process)
            measure(address, Server(process.pid), record.id)


if __name__ == "__main__":
    main()
