"""Start and speed of a full-size training: python -m scripts.bench.train_speed [--json]

A Stable Diffusion 1.5 with random weights is written once (4.3 GB in 32 bit). Each measurement is a process
of its own: a cold start (no latents on the disk, the base's hash not remembered), a warm one, and a run in
which our steps take turns with a bare PyTorch loop over the same modules. Aims on two cores: the first step
begins within 12 s cold and 5 s warm, at most 5 GB of memory, at most 3 % slower than the bare loop. With CUDA
also 512 px in bf16 and Stable Diffusion XL at 1024 px, each with and without torch.compile.
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
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lora_studio.runtime import cpu_environment

CHECKOUT = Path(__file__).resolve().parents[2]
SIZES = ((451, 300), (741, 500), (512, 512), (640, 427), (600, 400), (427, 640))
"""Sizes of the photos that the reference trainer was measured with."""
MOST_SECONDS_COLD, MOST_SECONDS_WARM, MOST_BYTES, MOST_RATIO = 12.0, 5.0, 5e9, 1.03


@dataclass(frozen=True, kw_only=True)
class Case:
    """The measurement of one child process. `begun` is the unix time of its start."""

    mode: str
    base: str
    folder: str
    precision: str
    resolution: int
    steps: int
    unet_only: bool = False
    compiles: bool = False
    begun: float = 0.0


def main() -> int:
    arguments = parse()
    if arguments.child:
        print(json.dumps(run_child(Case(**json.loads(arguments.child)))))
        return 0
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="full-size-") as temporary:
        folder = Path(arguments.keep or temporary)
        result = measure(folder, arguments)
    print(json.dumps(result, indent=2) if arguments.json else "\n".join(lines(result)))
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=8, help="steps of each run (default: 8)")
    parser.add_argument(
        "--layout", choices=("file", "folder"), default="file", help="how the base lies there"
    )
    parser.add_argument(
        "--stored", choices=("fp32", "fp16", "bf16"), default="fp32", help="number format of it"
    )
    parser.add_argument(
        "--precisions", default="no,bf16", help="mixed_precision of the runs (default: no,bf16)"
    )
    parser.add_argument("--folder", help="where the base is written (default: the system's temporary folder)")
    parser.add_argument("--keep", help="write the base here, or take the one that is here, and leave it")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """All runs, by name."""
    import torch

    base = make_base(folder, arguments)
    result: dict[str, Any] = {
        "machine": {"cores": len(os.sched_getaffinity(0)), "threads": torch.get_num_threads()},
        "base": {"layout": arguments.layout, "stored": arguments.stored},
    }
    cuda = torch.cuda.is_available()
    resolution = 512 if cuda else 256
    for precision in arguments.precisions.split(","):
        case = Case(
            mode="start",
            base=str(base),
            folder=str(folder / f"home-{precision}-{time.time_ns()}"),
            precision=precision,
            resolution=resolution,
            steps=arguments.steps,
        )
        result[f"cold {precision}"] = in_child(case)
        result[f"warm {precision}"] = in_child(case)
        for unet_only in (False, True):
            name = f"steps {precision}{' denoiser only' if unet_only else ''}"
            result[name] = in_child(replaced(case, mode="steps", unet_only=unet_only))
    if cuda:
        result |= measure_cuda(folder, base, arguments)
    return result


def measure_cuda(folder: Path, base: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    result = {}
    for name, where, resolution in (
        ("SD1.5 512 px", base, 512),
        ("SDXL 1024 px", make_base(folder, arguments, large=True), 1024),
    ):
        for compiles in (False, True):
            case = Case(
                mode="steps",
                base=str(where),
                folder=str(folder / f"home-{time.time_ns()}"),
                precision="bf16",
                resolution=resolution,
                steps=max(20, arguments.steps),
                unet_only=resolution == 1024,
                compiles=compiles,
            )
            result[f"{name} bf16{' compiled' if compiles else ''}"] = in_child(case)
    return result


def make_base(folder: Path, arguments: argparse.Namespace, *, large: bool = False) -> Path:
    """The base model, SDXL if `large`, written if it is not there. Only the small one can be one file."""
    import torch

    from scripts.bench.full_size import make_sd15, make_sdxl

    dtype = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[arguments.stored]
    base = folder / f"{'large' if large else 'small'}-{arguments.stored}"
    if not (base / "model_index.json").is_file():
        (make_sdxl if large else make_sd15)(base, dtype)
    if arguments.layout == "folder" or large:
        return base
    file = base.with_suffix(".safetensors")
    if not file.is_file():
        from tests.support.single_file import write_single_file

        write_single_file(base, file)
    return file


def in_child(case: Case) -> dict[str, Any]:
    """Run one case in a process of its own, so that memory and imports count from the start."""
    # As `lora-studio train` begins, and the processes of a worker.
    environment = cpu_environment({**os.environ, "LORA_STUDIO_HOME": case.folder, "HF_HUB_OFFLINE": "1"})
    command = [sys.executable, "-m", "scripts.bench.train_speed", "--child"]
    printed = json.dumps(asdict(replaced(case, begun=time.time())))
    run = subprocess.run(
        [*command, printed], cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False
    )
    if run.returncode:
        raise SystemExit(f"A run ended with code {run.returncode}:\n{run.stderr[-3000:]}")
    return dict(json.loads(run.stdout.splitlines()[-1]))


def run_child(case: Case) -> dict[str, Any]:
    modes = {"start": measure_start, "again": measure_again, "steps": measure_steps}
    return modes[case.mode](case)


def measure_again(case: Case) -> dict[str, Any]:
    """A second training in a process, from its call on, after a short one."""
    from lora_studio.trainer import train

    train(config_of(replaced(case, steps=2)))
    return measure_start(replaced(case, begun=time.time()))


def measure_start(case: Case) -> dict[str, Any]:
    """A whole training; seconds from the start of the process to each mark, and memory there."""
    marks: dict[str, dict[str, float]] = {}

    def mark(name: str, earlier: float = 0.0) -> None:
        now = {
            "seconds": round(time.time() - case.begun - earlier, 2),
            "CPU seconds": round(time.process_time(), 2),
            **memory(),
        }
        marks.setdefault(name, now)

    mark("Python is up")
    from lora_studio.events import Event, PhaseAdvanced, StepDone
    from lora_studio.trainer import train

    mark("imported")
    seconds: list[float] = []
    last = [0.0]

    def listen(event: Event) -> None:
        if isinstance(event, PhaseAdvanced) and event.done in (0, event.total):
            mark(f"{event.phase} {'ends' if event.done else 'begins'}")
        if isinstance(event, StepDone):
            mark("first step begins", event.seconds)
            mark("first step ends")
            seconds.append(event.seconds)
            last[0] = time.time() - case.begun

    train(config_of(case), listen)
    return {
        "begun": case.begun,
        "seconds to the first step": marks["first step begins"]["seconds"],
        "seconds to the last step": round(last[0], 2),
        "seconds a step": statistics.median(seconds[1:] or seconds),
        "peak GB": round(peak_memory() / 1e9, 2),
        "GB in training": marks["first step ends"]["resident GB"],
        "marks": marks,
    }


def measure_steps(case: Case) -> dict[str, Any]:
    """Our steps and bare ones in turn, on the same modules and numbers: seconds of each, and their ratio."""
    import torch

    from lora_studio.data.training_set.folders import read_folder
    from lora_studio.events import ignore, never_stop
    from lora_studio.families.base_files.locate import find_base
    from lora_studio.runtime import compute_dtype, find_device
    from lora_studio.training.loop import Loop
    from lora_studio.training.model import load_engine
    from lora_studio.training.optimization.lr_schedules import build_schedule
    from lora_studio.training.optimization.optimizers import build_optimizer
    from lora_studio.training.preparation.training_data import prepare_data
    from scripts.bench.parts.bare_loop import BareLoop

    config, device = config_of(case), find_device()
    found = find_base(case.base)
    engine = load_engine(config, found, device, compute_dtype(case.precision, device))
    data = prepare_data(engine, read_folder(config.dataset), ignore, never_stop)
    assert data is not None
    if case.compiles:
        engine.base.unet.compile()
    optimizer = build_optimizer(config.optimizer, engine.parameter_groups())
    schedule = build_schedule(config.optimizer, optimizer)
    loop = Loop(engine=engine, data=data, optimizer=optimizer, schedule=schedule)
    engine.train_mode(True)
    bare = BareLoop(engine, data, optimizer)
    ours: list[Spent] = []
    others: list[Spent] = []
    torch.manual_seed(0)
    for number in range(case.steps):
        for is_ours in (True, False) if number % 2 else (False, True):  # neither is always the second
            begun = time.perf_counter(), time.process_time()
            if is_ours:
                loop.advance()
            else:
                bare.step(number)
            spent = Spent(wall=time.perf_counter() - begun[0], cpu=time.process_time() - begun[1])
            (ours if is_ours else others).append(spent)
    kept = slice(1 + case.steps // 8, None)
    wall, cpu = (
        [statistics.median(getattr(one, what) for one in side[kept] or side) for side in (ours, others)]
        for what in ("wall", "cpu")
    )
    found_memory = {"peak GB": round(peak_memory() / 1e9, 2)}
    if device.kind == "cuda":
        found_memory["device GB"] = round(torch.cuda.max_memory_reserved() / 1e9, 2)
    return {
        "seconds a step": wall[0],
        "bare seconds a step": wall[1],
        "ratio": wall[0] / wall[1],
        "ratio of CPU seconds": cpu[0] / cpu[1],
        **found_memory,
    }


@dataclass(frozen=True, kw_only=True)
class Spent:
    """Seconds of one step. On a machine that does other work only the CPU seconds mean something."""

    wall: float
    cpu: float


def config_of(case: Case) -> Any:
    from lora_studio.config import TrainConfig

    folder = Path(case.folder)
    return TrainConfig.from_values(
        {
            "pretrained_model_name_or_path": case.base,
            "train_data_dir": str(make_pictures(folder / "pictures")),
            "trigger_word": "zwx",
            "output_name": "bench",
            "output_dir": str(folder / f"lora-{time.time_ns()}"),
            "resolution": case.resolution,
            "network_dim": 4,
            "network_alpha": 4,
            "network_train_unet_only": case.unet_only,
            "max_train_steps": case.steps,
            "sample_every_n_steps": 0,
            "save_every_n_steps": 0,
            "mixed_precision": case.precision,
        }
    )


def make_pictures(folder: Path) -> Path:
    """Six photos' worth of smooth noise, with captions."""
    import numpy
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    draw = numpy.random.default_rng(1)
    for number, size in enumerate(SIZES):
        rough = Image.fromarray(draw.integers(0, 256, (12, 12, 3), dtype=numpy.uint8))
        path = folder / f"{number}.png"
        if not path.is_file():
            rough.resize(size, Image.Resampling.BICUBIC).save(path)
            path.with_suffix(".txt").write_text(f"picture {number}", "utf-8")
    return folder


def memory() -> dict[str, float]:
    """Memory in use now, and, where Linux tells, how much of it is only a view of the base's file: the system
    takes those pages back when it needs them."""
    import psutil  # type: ignore[import-untyped]

    facts = psutil.Process().memory_info()
    found = {"resident GB": round(facts.rss / 1e9, 2)}
    if hasattr(facts, "shared"):
        found["of files GB"] = round(facts.shared / 1e9, 2)
    return found


def peak_memory() -> int:
    """The largest resident size of this process so far, in bytes. Pages of a mapped file count too."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def replaced(case: Case, **changes: Any) -> Case:
    return Case(**{**asdict(case), **changes})


def lines(result: Mapping[str, Any]) -> list[str]:
    """The figures with their aims."""
    findings = []
    for name, run in result.items():
        if "marks" in run:
            most = MOST_SECONDS_COLD if name.startswith("cold") else MOST_SECONDS_WARM
            findings.append(
                f"{name}: first step after {run['seconds to the first step']:.1f} s (aim {most:.0f}), "
                f"{run['seconds a step']:.2f} s a step, peak {run['peak GB']:.2f} GB (aim "
                f"{MOST_BYTES / 1e9:.0f}), {run['GB in training']:.2f} GB while training"
            )
            for mark, at in run["marks"].items():
                figures = ", ".join(f"{value:.2f} {name}" for name, value in at.items())
                findings.append(f"    {mark}: {figures}")
        elif "ratio" in run:
            findings.append(
                f"{name}: {run['seconds a step']:.3f} s, bare {run['bare seconds a step']:.3f} s, ratio "
                f"{run['ratio']:.3f} (aim {MOST_RATIO}), of CPU seconds {run['ratio of CPU seconds']:.3f}, "
                f"peak {run['peak GB']:.2f} GB"
            )
        else:
            findings.append(f"{name}: {json.dumps(run)}")
    return findings


if __name__ == "__main__":
    sys.exit(main())
