"""The cost of the mirror in Supabase for a training: python -m scripts.bench.mirror [--json]

Writes: milliseconds to store one event while three trainings write as fast as they can, without a project,
with one that refuses connections, and with one that takes them and never answers. Share: what the sender
takes of a core meanwhile. Training: the time of a real training's steps with such dead projects, as a ratio
to those without, runs taking turns.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from lora_studio.config import TrainConfig
from lora_studio.events import Started, StepDone
from lora_studio.settings import CHECKOUT, Settings
from lora_studio.store.job_store import JobStore
from lora_studio.studio import Studio, open_studio
from lora_studio.training_request import StartTraining

TRAINERS = 3
KINDS = ("off", "refusing", "silent")
PATIENCE = 1800.0


@contextmanager
def project(kind: str) -> Iterator[dict[str, Any]]:
    """Settings of a project that is not there, refuses connections, or takes them and says nothing."""
    if kind == "off":
        yield {}
        return
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        if kind == "refusing":
            server.close()
            yield {"supabase_url": "http://127.0.0.1:9", "supabase_key": "none"}
            return
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        yield {"supabase_url": address, "supabase_key": "none"}  # the kernel accepts, nobody answers


def measure_writes(kind: str, events: int) -> dict[str, float]:
    """Milliseconds of `JobStore.append`, over the events of all trainers."""
    with tempfile.TemporaryDirectory() as folder, project(kind) as facts:
        settings = Settings(home=Path(folder) / "home", models=Path(folder) / "models", **facts)
        studio = open_studio(settings, start_worker=False)
        studio.mirror.start()
        store = JobStore(studio.database)
        taken: list[float] = []
        threads = [
            threading.Thread(target=_write, args=(store, settings, number, events, taken))
            for number in range(TRAINERS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        studio.close()
    taken.sort()
    shares = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {
        name: 1000 * taken[min(len(taken) - 1, int(share * len(taken)))] for name, share in shares.items()
    }


def measure_share(kind: str, seconds: float, a_second: int = 10) -> float:
    """Percent of one core that this process takes while a training tells so many events a second: what is
    above that of `off` is the sender's. Unlike the time of a training, this bears a machine that does other
    things."""
    with tempfile.TemporaryDirectory() as folder, project(kind) as facts:
        settings = Settings(home=Path(folder) / "home", models=Path(folder) / "models", **facts)
        studio = open_studio(settings, start_worker=False)
        studio.mirror.start()
        time.sleep(5.0)  # supabase is imported, the first request has failed
        begun, used = time.perf_counter(), time.process_time()
        _write(JobStore(studio.database), settings, 0, int(seconds * a_second), [], 1 / a_second)
        share = (time.process_time() - used) / (time.perf_counter() - begun)
        studio.close()
    return 100 * share


def _write(
    store: JobStore, settings: Settings, number: int, events: int, taken: list[float], pause: float = 0.002
) -> None:
    values: dict[str, Any] = {"pretrained_model_name_or_path": "starter", "train_data_dir": "x"}
    slug = f"bench-{number}"
    values |= {"output_name": slug, "output_dir": str(settings.loras / slug), "max_train_steps": events}
    job = store.create(TrainConfig.from_values(values))
    store.append(
        job.id, Started(total_steps=events, phases=("train",), device="cpu", dtype="float32", images=1)
    )
    for step in range(1, events + 1):
        event = StepDone(
            step=step, total_steps=events, loss=0.5, average_loss=0.5, learning_rate=1e-4, seconds=0.01
        )
        begun = time.perf_counter()
        store.append(job.id, event)
        taken.append(time.perf_counter() - begun)
        time.sleep(pause)


def measure_training(runs: int, steps: int, example: str) -> dict[str, list[float]]:
    """Seconds from step to step, all steps of all runs for each kind of project; a run to warm up comes
    first. Their median bears a machine that does other things too."""
    found: dict[str, list[float]] = {kind: [] for kind in KINDS}
    with ExitStack() as stack:
        studios: dict[str, tuple[Studio, str]] = {}
        for kind in KINDS:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            facts = stack.enter_context(project(kind))
            studio = open_studio(Settings(home=folder / "home", models=folder / "models", **facts))
            stack.callback(studio.close)
            files = sorted((CHECKOUT / "examples" / example).iterdir())
            studios[kind] = studio, studio.datasets.create("bench", files).id
        _train(*studios["off"], steps=2)
        for run in range(runs):
            order = KINDS if run % 2 == 0 else tuple(reversed(KINDS))
            for kind in order:
                found[kind] += _train(*studios[kind], steps=steps)
    return found


def _train(studio: Studio, dataset_id: str, *, steps: int) -> list[float]:
    overrides = {"max_train_steps": steps, "sample_every_n_steps": 0, "save_every_n_steps": 0}
    job = studio.trainings.start(
        StartTraining(dataset_id=dataset_id, name="bench", kind="object", trigger="zwx", overrides=overrides)
    )
    record = studio.jobs.wait(job.id, timeout=PATIENCE)
    if record.status != "finished":
        raise SystemExit(f"The training ended as {record.status}: {record.message}")
    done = [stored for stored in studio.jobs.events(job.id) if isinstance(stored.event, StepDone)]
    return [later.at - earlier.at for earlier, later in pairwise(done)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=2000, help="events of each trainer (default: 2000)")
    parser.add_argument("--seconds", type=float, default=30, help="for the share of a core (default: 30)")
    parser.add_argument("--runs", type=int, default=5, help="trainings of each kind (default: 5; 0: none)")
    parser.add_argument("--steps", type=int, default=60, help="steps of each (default: 60)")
    parser.add_argument("--example", default="alien", help="folder of examples/ (default: alien)")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    writes = {kind: measure_writes(kind, arguments.events) for kind in KINDS}
    shares = {kind: measure_share(kind, arguments.seconds) for kind in KINDS}
    result: dict[str, Any] = {
        "cores": os.cpu_count(),
        "milliseconds to store an event": writes,
        "percent of a core": shares,
    }
    if arguments.runs:
        seconds = measure_training(arguments.runs, arguments.steps, arguments.example)
        middle = {kind: statistics.median(taken) for kind, taken in seconds.items()}
        result |= {
            "seconds from step to step, median": middle,
            "ratio to off": {kind: middle[kind] / middle["off"] for kind in KINDS[1:]},
        }
    if arguments.json:
        print(json.dumps(result, indent=2))
        return 0
    for title, facts in result.items():
        print(f"{title}: {facts}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
