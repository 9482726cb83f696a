"""The options of a step beside a plain one: python -m scripts.bench.step_options [--base full] [--json]

Each option trains in a process of its own beside a plain one, and the two take their steps in turns. For
each: seconds a step and of the processor, by the plain ones; the first step; the largest memory; and whether
the trained weights are the same to the bit after the same steps. `--base starter` is the embedded base,
`full` a Stable Diffusion 1.5 with random weights at 256 px, written to `--folder` (4.3 GB) and taken away.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.bench.train_speed import CHECKOUT, make_base, make_pictures, peak_memory


@dataclass(frozen=True, kw_only=True)
class StepOption:
    """A way to take a step: settings, variables of the environment, and a change of the program itself."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    patch: str = ""


PLAIN = StepOption(name="plain")
NOT_FUSED, CHANNELS_LAST = "fused=False", "channels last"
OPTIONS = (
    StepOption(name="LoRA merged into the weight at each step", patch="merged"),
    StepOption(name="optimizer: foreach", settings={"optimizer_args": [NOT_FUSED, "foreach=True"]}),
    StepOption(
        name="optimizer: a tensor at a time", settings={"optimizer_args": [NOT_FUSED, "foreach=False"]}
    ),
    StepOption(name="attention: math", patch="MATH"),
    StepOption(name="attention: flash", patch="FLASH_ATTENTION"),
    StepOption(name="channels last", patch=CHANNELS_LAST),
    StepOption(name="mixed_precision bf16", settings={"mixed_precision": "bf16"}),
    StepOption(name="gradient_checkpointing", settings={"gradient_checkpointing": True}),
    StepOption(name="one thread", environment={"OMP_NUM_THREADS": "1"}),
    StepOption(name="cpu_data_parallel", settings={"cpu_data_parallel": True}),
)
SHOWN = ("wall", "CPU")


class StepProcess:
    """A training in a process of its own that takes a step when it is asked to."""

    def __init__(self, option: StepOption, settings: Mapping[str, Any], home: Path) -> None:
        environment = {**os.environ, **option.environment, "LORA_STUDIO_HOME": str(home)}
        asked = json.dumps({"settings": {**settings, **option.settings}, "patch": option.patch})
        self._process = subprocess.Popen(
            [sys.executable, "-m", "scripts.bench.step_options", "--child", asked],
            cwd=CHECKOUT,
            env={**environment, "HF_HUB_OFFLINE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def step(self) -> dict[str, Any]:
        """Take one step: its seconds, and what is true after it."""
        assert self._process.stdin
        assert self._process.stdout
        try:
            print("step", file=self._process.stdin, flush=True)
        except BrokenPipeError:
            raise SystemExit("A training has ended; its error stands above.") from None
        return dict(json.loads(self._process.stdout.readline() or "{}"))

    def end(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def main() -> int:
    arguments = parse()
    if arguments.child:
        return take_steps(json.loads(arguments.child))
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="step-options-") as temporary:
        folder = Path(arguments.keep or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        result = measure(arguments, folder, Path(temporary))
    print(json.dumps(result, indent=2) if arguments.json else "\n".join(lines(result)))
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--base", choices=("starter", "full"), default="starter")
    parser.add_argument("--turns", type=int, default=10, help="steps of each after the first (default: 10)")
    parser.add_argument("--only", default="", help="options by a part of their names, with commas")
    parser.add_argument("--folder", help="where all is written (default: the system's temporary folder)")
    parser.add_argument("--keep", help="write the full-size base here, or take the one that is here")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(arguments: argparse.Namespace, folder: Path, temporary: Path) -> dict[str, Any]:
    """The figures of each option beside plain steps."""
    settings = settings_of(arguments.base, folder, temporary)
    wanted = [part.strip() for part in arguments.only.split(",") if part.strip()]
    chosen = [one for one in OPTIONS if not wanted or any(part in one.name for part in wanted)]
    plain = StepProcess(PLAIN, settings, temporary / "home")
    first = plain.step()
    hashes = {1: first["hash"]}
    result: dict[str, Any] = {"load": os.getloadavg(), "cores": len(os.sched_getaffinity(0))}
    result["plain"] = {"first step": first["wall"], "peak GB": first["peak GB"]}
    while len(hashes) <= arguments.turns:
        hashes[len(hashes) + 1] = plain.step()["hash"]
    for option in chosen:
        process = StepProcess(option, settings, temporary / "home")
        result[option.name] = compared(process, plain, arguments.turns, hashes)
        process.end()
        print(f"{option.name}: {json.dumps(result[option.name])}", file=sys.stderr)
    plain.end()
    return result


def compared(
    process: StepProcess, plain: StepProcess, turns: int, hashes: Mapping[int, str]
) -> dict[str, Any]:
    """An option's steps and plain ones in turns; `hashes` are those of the plain weights by step."""
    first = process.step()
    pairs = []
    for number in range(turns):
        if number % 2:  # neither is always the second
            before, after = process.step(), plain.step()
        else:
            after, before = plain.step(), process.step()
        pairs.append((before, after))
    of_option, of_plain = zip(*pairs, strict=True)
    ratios = {
        f"ratio, {what}": statistics.median(mine[what] for mine in of_option)
        / statistics.median(other[what] for other in of_plain)
        for what in SHOWN
    }
    return {
        **{name: round(value, 3) for name, value in ratios.items()},
        "seconds a step": round(statistics.median(mine["wall"] for mine in of_option), 3),
        "CPU seconds a step": round(statistics.median(mine["CPU"] for mine in of_option), 3),
        "first step": round(first["wall"], 1),
        "peak GB": of_option[-1]["peak GB"],
        "same bits": of_option[-1]["hash"] == hashes[turns + 1],
    }


def settings_of(base: str, folder: Path, temporary: Path) -> dict[str, Any]:
    """The training whose steps are measured: the preset of an object, on the CPU in 32 bit."""
    if base == "starter":
        from lora_studio.catalog import STARTER, plan

        values = dict(plan("object", STARTER, 10).values)
        values |= {"pretrained_model_name_or_path": "starter", "trigger_word": "zwx"}
        values |= {"train_data_dir": str(CHECKOUT / "examples" / "alien")}
    else:
        at = argparse.Namespace(stored="fp32", layout="file")
        values = {"pretrained_model_name_or_path": str(make_base(folder, at)), "resolution": 256}
        values |= {"train_data_dir": str(make_pictures(temporary / "pictures"))}
        values |= {"network_dim": 4, "network_alpha": 4, "network_train_unet_only": True}
    return {**values, "mixed_precision": "no", "output_name": "steps", "output_dir": str(temporary / "lora")}


def take_steps(asked: Mapping[str, Any]) -> int:
    """The child: load, then a step for each line that comes in."""
    from lora_studio.config import TrainConfig
    from lora_studio.families.weights.channels_last import to_channels_last

    with ExitStack() as patched:
        for patch in filter(None, [asked["patch"]]):
            patched.enter_context(PATCHES[patch]())
        loop = load_loop(TrainConfig.from_values(asked["settings"]))
        if asked["patch"] == CHANNELS_LAST:
            to_channels_last(loop.engine.base.denoiser)
        for _ in sys.stdin:
            begun = time.perf_counter(), time.process_time()
            loop.advance()
            spent = time.perf_counter() - begun[0], time.process_time() - begun[1]
            weights = b"".join(one.numpy().tobytes() for _, one in sorted(loop.engine.lora.state().items()))
            facts = {**dict(zip(SHOWN, spent, strict=True)), "hash": hashlib.sha256(weights).hexdigest()}
            print(json.dumps({**facts, "peak GB": round(peak_memory() / 1e9, 2)}), flush=True)
    return 0


def load_loop(config: Any) -> Any:
    """A loop at its first step, all pictures encoded."""
    from lora_studio.data.training_set.folders import read_folder
    from lora_studio.events import ignore, never_stop
    from lora_studio.families.base_files.locate import find_base
    from lora_studio.runtime import compute_dtype, find_device
    from lora_studio.training.loop import Loop
    from lora_studio.training.model import load_engine
    from lora_studio.training.optimization.lr_schedules import build_schedule
    from lora_studio.training.optimization.optimizers import build_optimizer
    from lora_studio.training.preparation.training_data import prepare_data

    device = find_device()
    base = find_base(config.model.pretrained_model_name_or_path)
    engine = load_engine(config, base, device, compute_dtype(config.model.mixed_precision, device))
    data = prepare_data(engine, read_folder(config.dataset), ignore, never_stop)
    assert data is not None
    optimizer = build_optimizer(config.optimizer, engine.parameter_groups())
    engine.train_mode(True)
    return Loop(
        engine=engine,
        data=data,
        optimizer=optimizer,
        schedule=build_schedule(config.optimizer, optimizer),
    )


@contextmanager
def merged_layers() -> Iterator[None]:
    """One product with the sum of weight and LoRA, whose gradients autograd finds."""
    from peft.tuners.lora.layer import Linear
    from torch.nn import functional

    def forward(self: Any, inputs: Any) -> Any:
        down, up, scale = (getattr(self, part)["default"] for part in ("lora_A", "lora_B", "scaling"))
        weight = self.base_layer.weight + up.weight @ down.weight * scale
        return functional.linear(inputs, weight, self.base_layer.bias)

    Linear.forward = forward
    yield


def attention(name: str) -> Any:
    """All attention by one of torch's kernels."""

    def kernel() -> Any:
        from torch.nn.attention import SDPBackend, sdpa_kernel

        return sdpa_kernel(getattr(SDPBackend, name))

    return kernel


PATCHES = {
    CHANNELS_LAST: nullcontext,
    "merged": merged_layers,
    **{name: attention(name) for name in ("MATH", "FLASH_ATTENTION")},
}


def lines(result: Mapping[str, Any]) -> Iterator[str]:
    """The table, ready for the log."""
    cores, load = result["cores"], ", ".join(f"{one:.1f}" for one in result["load"])
    yield f"{cores} cores, load {load} at the beginning"
    yield "| option | s by plain | CPU s by plain | s a step | CPU s | first step, s | peak, GB | same bits |"
    yield "|---|---|---|---|---|---|---|---|"
    for name, found in result.items():
        if "same bits" in found if isinstance(found, dict) else False:
            figures = [found[f"ratio, {what}"] for what in SHOWN]
            figures += [found[what] for what in ("seconds a step", "CPU seconds a step", "first step")]
            figures += [found["peak GB"], "yes" if found["same bits"] else "no"]
            yield f"| {name} | {' | '.join(map(str, figures))} |"


if __name__ == "__main__":
    sys.exit(main())
