"""A full-size training beside the reference trainer: python -m scripts.bench.reference FOLDER --python PYTHON

FOLDER is a checkout of kohya-ss/sd-scripts, PYTHON an interpreter with what it needs. Both train a LoRA on
Stable Diffusion 1.5 with random weights (4.3 GB in one file), with the same pictures and options, each run a
process of its own, in turns: cold (no latents on the disk), warm (they are there), and the denoiser alone.
"Again" is a second training of ours in the same process, which sd-scripts has none of: beside its cold start.
The figures are seconds from the start of the process (again: of the second training) to the beginning and to
the end of the first step, seconds a step, seconds from the last step to the end of the process, and the
largest resident size; the ratios are ours to theirs, of the medians. When sd-scripts' first step begins can't
be seen: it counts as long as the others. Nothing is fetched: the tokenizer is the embedded base's.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lora_studio.runtime import cpu_environment
from scripts.bench.full_size import TOKENIZER
from scripts.bench.train_speed import CHECKOUT, Case, config_of, make_base, make_pictures, replaced

STEP_SHOWN = re.compile(r"steps: [^\r\n]{0,60}?\| {0,9}(\d{1,9})/\d{1,9} \[")
"""A state of sd-scripts' bar of steps: how many are done."""
AIMS = {
    "cold": {"seconds to the first step": 0.35, "peak bytes": 0.55, "seconds after the last step": 1.0},
    "warm": {"seconds to the first step": 0.25},
    "denoiser only": {"peak bytes": 0.50},
    "again": {"seconds before the first step": 0.05},
}


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The cost of one run, from the start of its process; the first step counts until its end."""

    before_first_step: float
    to_first_step: float
    a_step: float
    after_last_step: float
    peak_bytes: int
    cpu_seconds: float

    def named(self) -> dict[str, float]:
        return {
            "seconds before the first step": self.before_first_step,
            "seconds to the first step": self.to_first_step,
            "seconds a step": self.a_step,
            "seconds after the last step": self.after_last_step,
            "peak bytes": self.peak_bytes,
            "CPU seconds": self.cpu_seconds,
        }


def main() -> int:
    arguments = parse()
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="reference-") as temporary:
        folder = Path(arguments.keep or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        base = make_base(folder, argparse.Namespace(stored="fp32", layout="file"))
        result: dict[str, Any] = {}
        for name in filter(None, arguments.runs.split(",")):
            earlier = result.get("cold", {}).get("runs", {}).get("theirs", []) if name == "again" else []
            result[name] = pairs(name, base, Path(temporary), arguments, [Figures(**run) for run in earlier])
    print(json.dumps(result, indent=2) if arguments.json else "\n".join(lines(result)))
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("sd_scripts", type=Path, help="checkout of kohya-ss/sd-scripts")
    parser.add_argument("--python", required=True, help="interpreter with sd-scripts' packages")
    parser.add_argument("--pairs", type=int, default=5, help="runs of each (default: 5)")
    parser.add_argument("--steps", type=int, default=7, help="steps of each run (default: 7)")
    parser.add_argument("--threads", type=int, default=2, help="OMP_NUM_THREADS of both (default: 2)")
    parser.add_argument("--runs", default="cold,warm,denoiser only,again", help="which kinds of runs")
    parser.add_argument("--folder", help="where all is written (default: the system's temporary folder)")
    parser.add_argument("--keep", help="write the base here, or take the one that is here, and leave it")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def pairs(
    name: str, base: Path, folder: Path, arguments: argparse.Namespace, known_figures: Sequence[Figures] = ()
) -> dict[str, Any]:
    """Runs of one kind in turns: the figures of both, and the ratios of their medians; with `known_figures`
    sd-scripts itself doesn't run."""
    case = Case(
        mode="again" if name == "again" else "start",
        base=str(base),
        folder=str(folder / name.replace(" ", "-")),
        precision="no",
        resolution=256,
        steps=arguments.steps,
        unet_only=name == "denoiser only",
    )
    sides: dict[str, list[Figures]] = {"ours": [], "theirs": [*known_figures]}
    if name == "warm":
        ours(case, arguments), theirs(case, arguments)  # leaves the latents of both on the disk
    for number in range(arguments.pairs):
        for side in ("ours", "theirs") if number % 2 else ("theirs", "ours"):
            if side == "theirs" and known_figures:
                continue
            if name != "warm":
                shutil.rmtree(case.folder, ignore_errors=True)
            sides[side].append((ours if side == "ours" else theirs)(case, arguments))
            print(f"{name} {number + 1}, {side}: {json.dumps(sides[side][-1].named())}", file=sys.stderr)
    middle = {
        side: {what: statistics.median(run.named()[what] for run in runs) for what in runs[0].named()}
        for side, runs in sides.items()
    }
    ratios = {what: middle["ours"][what] / value for what, value in middle["theirs"].items() if value}
    return {
        "ratios": ratios,
        **middle,
        "runs": {side: list(map(asdict, runs)) for side, runs in sides.items()},
    }


def ours(case: Case, arguments: argparse.Namespace) -> Figures:
    """A training of the studio's own, with the marks that it sets itself."""
    make_pictures(Path(case.folder) / "pictures")
    begun = time.time()
    command = [sys.executable, "-m", "scripts.bench.train_speed", "--child"]
    described = json.dumps(asdict(replaced(case, begun=begun)))
    environment = {"LORA_STUDIO_HOME": case.folder, "OMP_NUM_THREADS": str(arguments.threads)}
    printed, usage = finished([*command, described], CHECKOUT, cpu_environment(environment))
    ended = time.time()
    run = json.loads(printed.splitlines()[-1])
    return Figures(
        before_first_step=run["marks"]["first step begins"]["seconds"],
        to_first_step=run["marks"]["first step ends"]["seconds"],
        a_step=run["seconds a step"],
        after_last_step=ended - run["begun"] - run["seconds to the last step"],
        peak_bytes=peak_of(usage),
        cpu_seconds=usage.ru_utime + usage.ru_stime,
    )


def theirs(case: Case, arguments: argparse.Namespace) -> Figures:
    """Figures of the same training by sd-scripts, from its own bar of steps."""
    from lora_studio.kohya_config.write_options import write_kohya

    folder = Path(case.folder)
    pictures = folder / "kohya" / "1_zwx"
    if not pictures.is_dir():
        pictures.parent.mkdir(parents=True)
        make_pictures(pictures)
    options = folder / f"theirs-{time.time_ns()}.toml"
    places = {
        "train_data_dir": str(pictures.parent),
        "output_dir": str(folder / "theirs"),
        "cache_latents_to_disk": True,
        "caption_extension": ".txt",
        "tokenizer_cache_dir": str(tokenizers(folder)),
    }
    options.write_text(write_kohya(config_of(case), places), "utf-8")
    command = [arguments.python, "train_network.py", "--config_file", str(options)]
    environment = {"PYTHONPATH": str(arguments.sd_scripts), "OMP_NUM_THREADS": str(arguments.threads)}
    begun = time.time()
    seen: dict[int, float] = {}

    def watch(text: str) -> None:
        for found in STEP_SHOWN.finditer(text):
            seen.setdefault(int(found[1]), time.time())

    _, usage = finished(command, arguments.sd_scripts, environment, watch)
    ended = time.time()
    if not {1, case.steps} <= seen.keys():
        raise SystemExit(f"sd-scripts' steps were not seen: {sorted(seen)}")
    a_step = (seen[case.steps] - seen[1]) / max(1, case.steps - 1)
    return Figures(
        before_first_step=seen[1] - begun - a_step,
        to_first_step=seen[1] - begun,
        a_step=a_step,
        after_last_step=ended - seen[case.steps],
        peak_bytes=peak_of(usage),
        cpu_seconds=usage.ru_utime + usage.ru_stime,
    )


def tokenizers(folder: Path) -> Path:
    """A folder of sd-scripts' with the tokenizer that it would fetch."""
    cache = folder / "tokenizers"
    if not cache.is_dir():
        shutil.copytree(TOKENIZER, cache / "openai_clip-vit-large-patch14")
    return cache


def finished(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], watch: Any = None
) -> tuple[str, Any]:
    """Output and use of a process, its own children left out. `watch` hears its errors as they
    come, which is where bars of progress are."""
    surroundings = {**os.environ, "HF_HUB_OFFLINE": "1", **environment}
    with tempfile.TemporaryFile() as printed:
        process = subprocess.Popen(
            command, cwd=folder, env=surroundings, stdout=printed, stderr=subprocess.PIPE
        )
        assert process.stderr
        output = b""
        while piece := os.read(process.stderr.fileno(), 65536):
            output = (output + piece)[-20_000:]
            if watch:
                watch(output.decode("utf-8", "replace"))
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        process.stderr.close()
        if process.returncode:
            raise SystemExit(
                f"A run ended with {process.returncode}:\n{output.decode('utf-8', 'replace')[-3000:]}"
            )
        printed.seek(0)
        return printed.read().decode("utf-8", "replace"), usage


def peak_of(usage: Any) -> int:
    """The largest resident size of a process that has ended, in bytes."""
    return int(usage.ru_maxrss if sys.platform == "darwin" else usage.ru_maxrss * 1024)


def lines(result: Mapping[str, Any]) -> list[str]:
    """The ratios with their aims, and the medians they come from."""
    found = []
    for name, run in result.items():
        for what, ratio in run["ratios"].items():
            aim = AIMS.get(name, {}).get(what)
            wanted = f", aim {aim:.2f}" if aim else ""
            found.append(
                f"{name}: {what} {ratio:.3f} ({run['ours'][what]:,.2f} to {run['theirs'][what]:,.2f}{wanted})"
            )
    return found


if __name__ == "__main__":
    sys.exit(main())
