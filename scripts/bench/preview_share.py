"""The share that previews add to a run: python -m scripts.bench.preview_share [--steps 500] [--json]

The embedded base is trained with its preset's previews and without any, in turns, each run a process and a
home of its own, so that nothing is kept from the one before. Seconds of the clock and of the processor, from
the start of the process to its end. Aim: 1.10 at most.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lora_studio.runtime import cpu_environment
from scripts.bench.step_options import settings_of
from scripts.bench.train_speed import CHECKOUT

MOST_RATIO = 1.10
SHOWN = ("seconds", "CPU seconds")
WITH, WITHOUT = "with previews", "without"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=500, help="steps of each run (default: 500)")
    parser.add_argument("--pairs", type=int, default=5, help="runs of each (default: 5)")
    parser.add_argument("--threads", type=int, help="threads of each run (default: all)")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(train_once(json.loads(arguments.child))))
        return 0
    result = measure(arguments.steps, arguments.pairs, arguments.threads)
    print(json.dumps(result, indent=2) if arguments.json else "\n".join(lines(result)))
    return 0 if result["ratios"]["seconds"] <= MOST_RATIO else 1


def measure(steps: int, pairs: int, threads: int | None) -> dict[str, Any]:
    """All runs, and the median of the pairs' ratios."""
    runs: dict[str, list[dict[str, Any]]] = {WITH: [], WITHOUT: []}
    load = os.getloadavg()
    for number in range(pairs):
        for side in (WITH, WITHOUT) if number % 2 else (WITHOUT, WITH):  # neither is always the second
            runs[side].append(in_child({} if side == WITH else {"sample_every_n_steps": 0}, steps, threads))
            print(f"{number + 1}, {side}: {json.dumps(runs[side][-1])}", file=sys.stderr)
    pairs_of = list(zip(runs[WITH], runs[WITHOUT], strict=True))
    ratios = {what: statistics.median(one[what] / other[what] for one, other in pairs_of) for what in SHOWN}
    return {"load": load, "steps": steps, "ratios": ratios, "runs": runs}


def in_child(changes: Mapping[str, Any], steps: int, threads: int | None) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="preview-share-") as home:
        values = settings_of("starter", Path(home), Path(home)) | {"max_train_steps": steps, **changes}
        variables = {"LORA_STUDIO_HOME": home} | ({"OMP_NUM_THREADS": str(threads)} if threads else {})
        before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        run = subprocess.run(
            [sys.executable, "-m", "scripts.bench.preview_share", "--child", json.dumps(values)],
            cwd=CHECKOUT,
            env=cpu_environment({**os.environ, **variables}),  # as `lora-studio train` begins
            stdout=subprocess.PIPE,
            check=True,
        )
        seconds, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = sum(getattr(after, name) - getattr(before, name) for name in ("ru_utime", "ru_stime"))
    return {"seconds": round(seconds, 2), "CPU seconds": round(cpu, 2), **json.loads(run.stdout)}


def train_once(values: Mapping[str, Any]) -> dict[str, Any]:
    """The child: a whole training. What its previews were, and the CPU seconds up to each kind of event since
    the one before."""
    from lora_studio.config import TrainConfig
    from lora_studio.events import Event, Noted, PreviewSaved
    from lora_studio.trainer import train

    spent: Counter[str] = Counter({"before": time.process_time()})
    last, drawn, notes = time.process_time(), Counter[int](), []

    def hear(event: Event) -> None:
        nonlocal last
        now = time.process_time()
        phase, note = getattr(event, "phase", ""), getattr(event, "note", "")
        spent[" ".join(filter(None, (type(event).__name__, phase, note)))] += now - last
        last = now
        if isinstance(event, PreviewSaved):
            drawn[event.step] += 1
        if isinstance(event, Noted):
            notes.append(event.message)

    outcome = train(TrainConfig.from_values(values), hear)
    spent["after"] = time.process_time() - last
    return {
        "loss": outcome.final_loss,
        "pictures": dict(drawn),
        "parts": {name: round(seconds, 2) for name, seconds in spent.most_common()},
        "notes": [note for note in notes if "max_preview_share" in note],
    }


def lines(result: Mapping[str, Any]) -> Iterator[str]:
    yield f"load {', '.join(f'{one:.1f}' for one in result['load'])}; {result['steps']} steps"
    for side, runs in result["runs"].items():
        for run in runs:
            drawn = f"{len(run['pictures'])} times {max(run['pictures'].values(), default=0)} pictures"
            yield f"{side}: {run['seconds']:.1f} s, {run['CPU seconds']:.1f} of the processor; {drawn}"
    ratios = result["ratios"]
    yield (
        f"with by without, median: {ratios['seconds']:.3f} (aim {MOST_RATIO:.2f}), of the processor "
        f"{ratios['CPU seconds']:.3f}"
    )


if __name__ == "__main__":
    sys.exit(main())
