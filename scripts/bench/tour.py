"""The tour beside bare steps of the embedded base: python -m scripts.bench.tour [--example ink] [--json]

In one run: the speed of a matrix product, bare steps of the denoiser (forth and back, no LoRA, no optimizer)
at the tour's batch, and `lora-studio tour` in a process and a home of its own, second by second as its events
tell. Aims: 60 s on two cores of 50 GFLOPS each, and 1.5 times 200 bare steps.
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

CHECKOUT = Path(__file__).resolve().parents[2]
STEPS, MEASURED, WARM_UP = 200, 30, 3
SIDE = 1024
"""Rows and columns of the matrices whose product tells the machine's speed."""
MOST_SECONDS, MOST_STEPS = 60.0, 1.5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--example", default="alien", help="which example set (default: alien)")
    parser.add_argument("--folder", help="where the home is made (default: the system's temporary folder)")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.bare:
        print(json.dumps({"GFLOPS": gflops(), "bare": bare_steps()}))
        return 0
    result = {"load": os.getloadavg(), **beside()}
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="tour-") as folder:
        result["tour"] = tour(arguments.example, Path(folder))
    bare = {name: STEPS * seconds for name, seconds in result["bare"].items()}
    result["tour by 200 bare steps"] = {name: result["tour"][name] / all_ for name, all_ in bare.items()}
    print(json.dumps(result, indent=2) if arguments.json else "\n".join(lines(result)))
    return 0


def beside() -> dict[str, Any]:
    """The machine's speed and the bare steps, by a process that is set up as the tour's is."""
    command = [sys.executable, "-m", "scripts.bench.tour", "--bare"]
    environment = cpu_environment(os.environ)
    run = subprocess.run(command, cwd=CHECKOUT, env=environment, stdout=subprocess.PIPE, check=True)
    return dict(json.loads(run.stdout))


def gflops() -> dict[str, float]:
    """Billions of operations a second in 32 bit, by one thread and by all."""
    import torch

    def measured() -> float:
        one, other = torch.randn(2, SIDE, SIDE)
        seconds = []
        for _ in range(7):
            begun = time.perf_counter()
            one @ other
            seconds.append(time.perf_counter() - begun)
        return 2 * SIDE**3 / min(seconds) / 1e9

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    alone = measured()
    torch.set_num_threads(threads)
    return {"1 thread": round(alone, 1), f"{threads} threads": round(measured(), 1)}


def bare_steps() -> dict[str, float]:
    """Seconds of the clock and of the processor that the denoiser takes for a batch, forth and back."""
    import torch

    from lora_studio.catalog import STARTER
    from lora_studio.families import family_of
    from lora_studio.families.base_files.locate import find_base
    from lora_studio.families.encoders.clip_encoder import CaptionWindows

    base = family_of(find_base("starter")).load()
    base.place("cpu", torch.float32)
    batch = STARTER.training["train_batch_size"]
    latents = torch.randn(batch, base.codec.channels, *base.codec.latents_size(64, 64), requires_grad=True)
    with torch.no_grad():
        text = base.prompts.encode_captions(["a cat"] * batch, CaptionWindows()).to(torch.float32)
    spent = []
    for _ in range(WARM_UP + MEASURED):
        begun = time.perf_counter(), time.process_time()
        base.denoise(latents, torch.full((batch,), 500), text).square().mean().backward()
        spent.append((time.perf_counter() - begun[0], time.process_time() - begun[1]))
    wall, cpu = zip(*spent[WARM_UP:], strict=True)
    return {"seconds": statistics.median(wall), "CPU seconds": statistics.median(cpu)}


def tour(example: str, home: Path) -> dict[str, Any]:
    """Seconds of the tour, in all and by what they went into."""
    environment = {**os.environ, "LORA_STUDIO_HOME": str(home), "LORA_STUDIO_MODELS": str(home / "models")}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun, started = time.perf_counter(), time.time()
    run = subprocess.run(
        [sys.executable, "-m", "lora_studio", "tour", "--example", example, "--json"],
        cwd=CHECKOUT,
        env=environment,
        stdout=subprocess.PIPE,
        check=True,
    )
    seconds = time.perf_counter() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    outcome = json.loads(run.stdout)
    return {
        "seconds": seconds,
        "CPU seconds": sum(getattr(after, name) - getattr(before, name) for name in ("ru_utime", "ru_stime")),
        "parts": outcome["seconds"],
        "training": training_seconds(next(home.rglob("events.jsonl")), started),
        "loss": outcome["loss"],
    }


def training_seconds(file: Path, started: float) -> dict[str, float]:
    """The seconds up to each kind of event since the one before, over the whole training; those of the steps
    themselves apart from what comes before them."""
    found: Counter[str] = Counter()
    last = started
    for line in file.read_text("utf-8").splitlines():
        event = json.loads(line)
        name = " ".join(filter(None, (event["kind"], event.get("phase", ""), event.get("note", ""))))
        gap, last = event["at"] - last, event["at"]
        if event["kind"] == "StepDone":
            found["steps"] += event["seconds"]
            gap -= event["seconds"]
            name = "before steps"
        found[name] += gap
    return {name: round(seconds, 2) for name, seconds in found.most_common()}


def lines(result: Mapping[str, Any]) -> Iterator[str]:
    tour_, bare = result["tour"], result["bare"]
    yield f"load {', '.join(f'{one:.1f}' for one in result['load'])}; GFLOPS {result['GFLOPS']}"
    yield f"a bare step: {bare['seconds']:.3f} s, {bare['CPU seconds']:.3f} s of the processor"
    yield (
        f"the tour: {tour_['seconds']:.1f} s (aim {MOST_SECONDS:.0f}), {tour_['CPU seconds']:.1f} s of the "
        f"processor; {tour_['parts']}"
    )
    ratios = result["tour by 200 bare steps"]
    yield (
        f"by 200 bare steps: {ratios['seconds']:.2f} (aim {MOST_STEPS}), of the processor "
        f"{ratios['CPU seconds']:.2f}"
    )
    yield from (f"    {seconds:7.2f} s  {name}" for name, seconds in tour_["training"].items())


if __name__ == "__main__":
    sys.exit(main())
