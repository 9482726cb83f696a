"""Start and speed of a training on the starter: python -m scripts.bench.training [--json]

The first run of a process pays for importing torch; the second one is what somebody sees who trains again.
Seconds count from the submit, which is what the page's Start button calls. Memory is the process's own peak.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lora_studio.events import StepDone
from lora_studio.settings import CHECKOUT, Settings
from lora_studio.studio import Studio, open_studio
from lora_studio.training_request import StartTraining

PATIENCE = 1800.0


@dataclass
class Memory:
    """The largest resident size seen, in bytes."""

    peak: int = 0
    _over: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        import psutil  # type: ignore[import-untyped]

        process = psutil.Process()
        while not self._over.wait(0.05):
            self.peak = max(self.peak, process.memory_info().rss)

    def end(self) -> None:
        self._over.set()


@contextmanager
def watched_memory() -> Iterator[Memory]:
    memory = Memory()
    watcher = threading.Thread(target=memory.watch, daemon=True)
    watcher.start()
    try:
        yield memory
    finally:
        memory.end()
        watcher.join()


def measure_run(studio: Studio, dataset_id: str, steps: int) -> dict[str, float]:
    """One training without previews: seconds to the first step, steps a second, all seconds, peak memory."""
    with watched_memory() as memory:
        begun = time.time()
        job = studio.trainings.start(
            StartTraining(
                dataset_id=dataset_id,
                name="bench",
                kind="object",
                trigger="zwx",
                overrides={"max_train_steps": steps, "sample_every_n_steps": 0, "save_every_n_steps": 0},
            )
        )
        record = studio.jobs.wait(job.id, timeout=PATIENCE)
    if record.status != "finished":
        raise SystemExit(f"The training ended as {record.status}: {record.message}")
    done = [stored for stored in studio.jobs.events(job.id) if isinstance(stored.event, StepDone)]
    middle = statistics.median(stored.event.seconds for stored in done[1:])
    return {
        "seconds from click to first step": done[0].at - begun,
        "steps a second": 1 / middle,
        "seconds in all": (record.finished_at or time.time()) - begun,
        "peak memory, MB": memory.peak / 1e6,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=60, help="steps a run (default: 60)")
    parser.add_argument("--example", default="alien", help="folder of examples/ (default: alien)")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        studio = open_studio(Settings(home=Path(folder) / "home", models=Path(folder) / "models"))
        try:
            files = sorted((CHECKOUT / "examples" / arguments.example).iterdir())
            dataset = studio.datasets.create("bench", files)
            runs = {name: measure_run(studio, dataset.id, arguments.steps) for name in ("cold", "warm")}
        finally:
            studio.close()
    if arguments.json:
        print(json.dumps({"cores": os.cpu_count(), "steps": arguments.steps, **runs}, indent=2))
        return 0
    for key in runs["cold"]:
        print(f"{key}: {runs['cold'][key]:.2f} cold, {runs['warm'][key]:.2f} warm")
    return 0


if __name__ == "__main__":
    sys.exit(main())
