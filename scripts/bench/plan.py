"""Estimates against runs: python -m scripts.bench.plan [--json]

Each case is planned and then really trained, in one process of its own; the ratios are plan to run, the aim
is 0.8 to 1.2. Machines that do other work meanwhile can't answer this.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from scripts.bench.training import watched_memory

CHECKOUT = Path(__file__).resolve().parents[2]
LEAST, MOST = 0.8, 1.2
CASES: dict[str, dict[str, Any]] = {
    "alien": {"kind": "object"},
    "ink, with the text encoder": {"kind": "style", "network_train_unet_only": False},
    "alien, batch 1, without previews": {
        "kind": "object",
        "train_batch_size": 1,
        "sample_every_n_steps": 0,
        "max_train_steps": 300,
    },
    "alien, checkpointing and validation": {
        "kind": "object",
        "gradient_checkpointing": True,
        "validation_split": 0.2,
        "max_train_steps": 120,
    },
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.case:
        print(json.dumps(compare(CASES[arguments.case])))
        return 0
    result = {name: in_child(name) for name in CASES}
    if arguments.json:
        print(json.dumps(result, indent=2))
    else:
        for name, parts in result.items():
            print(name)
            for part, (planned, real) in parts.items():
                ratio = planned / real if real else float("nan")
                inside = "" if LEAST <= ratio <= MOST else "  <- outside"
                print(f"  {part:>20}: plan {planned:10.2f}, run {real:10.2f}, ratio {ratio:.2f}{inside}")
    totals = [parts["seconds in all"] for parts in result.values()]
    return 0 if all(LEAST <= planned / real <= MOST for planned, real in totals) else 1


def in_child(name: str) -> dict[str, tuple[float, float]]:
    command = [sys.executable, "-m", "scripts.bench.plan", "--case", name]
    run = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    if run.returncode:
        raise SystemExit(f"{name} ended with code {run.returncode}:\n{run.stderr[-3000:]}")
    return {key: (pair[0], pair[1]) for key, pair in json.loads(run.stdout.splitlines()[-1]).items()}


def compare(wishes: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """(plan, run) of each figure: seconds, a step's seconds, megabytes of memory and of disk."""
    from lora_studio.events import CheckpointSaved, Event, StateSaved, StepDone
    from lora_studio.trainer import train
    from lora_studio.training.evaluation.preview_plan import has_limit
    from lora_studio.training.measure import measure

    with tempfile.TemporaryDirectory() as folder:
        config = config_of(wishes, Path(folder))
        plan = measure(config)
        assert plan is not None
        steps: list[tuple[float, StepDone]] = []
        disk: list[int] = []

        def listen(event: Event) -> None:
            if isinstance(event, StepDone):
                steps.append((time.perf_counter(), event))
            if isinstance(event, StateSaved | CheckpointSaved):  # states go when the run has finished
                disk.append(bytes_in(Path(folder)))

        begun = time.perf_counter()
        with watched_memory() as memory:
            train(config, listen)
        seconds = time.perf_counter() - begun
        disk.append(bytes_in(Path(folder)))
    training = sum(done.seconds for _, done in steps)
    start = steps[0][0] - steps[0][1].seconds - begun
    before = config.preview.sample_every_n_steps != 0 and not has_limit(config)
    base_preview = plan.preview_seconds / 9 if before else 0.0
    return {
        "seconds in all": (plan.total_seconds, seconds),
        "until the first step": (plan.start_seconds + base_preview, start),
        "seconds a step": (plan.seconds_per_step, training / len(steps)),
        "megabytes of memory": (plan.ram_bytes / 1e6, memory.peak / 1e6),
        "megabytes of disk": (plan.disk_bytes / 1e6, max(disk) / 1e6),
    }


def bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def config_of(wishes: dict[str, Any], folder: Path) -> Any:
    from lora_studio.catalog import STARTER, plan, preview_prompts
    from lora_studio.config import TrainConfig

    kind = wishes["kind"]
    return TrainConfig.from_values(
        {
            **plan(kind, STARTER, 10).values,
            "pretrained_model_name_or_path": "starter",
            "train_data_dir": str(CHECKOUT / "examples" / ("ink" if kind == "style" else "alien")),
            "trigger_word": "zwx",
            "output_name": "bench",
            "output_dir": str(folder / "bench"),
            "sample_prompts": preview_prompts(kind, "zwx", "starter"),
            **wishes,
        }
    )


if __name__ == "__main__":
    sys.exit(main())
