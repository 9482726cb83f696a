"""How fast images are made: python -m scripts.bench.generate [--base starter] [--images 10] [--json]

Each line is measured beside what diffusers does by itself, in turns within one run, so that a busy machine
slows both: loading the base, an image with and without a LoRA, loading, swapping and re-weighting LoRAs.
Medians; "ratio" is ours / diffusers'. The LoRAs are random ones with Kohya's default layers.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lora_studio.events import ignore
from lora_studio.families import family_of
from lora_studio.families.detect import FoundBase, find_base
from lora_studio.families.quiet import quiet_libraries
from lora_studio.generation.defaults import fill_in, fit_to, scheduler_for
from lora_studio.generation.loras import find_loras
from lora_studio.generation.pipelines import Pipelines, compute_dtype
from lora_studio.generator import Generator
from lora_studio.request import GenerateRequest, LoraUse
from lora_studio.runtime import find_device
from lora_studio.settings import Settings

SLUGS = ("one", "two")
LOADS, SWAPS = 3, 10


@dataclass(frozen=True)
class Line:
    """Medians in `unit`; `plain` is None where diffusers has nothing to compare with."""

    what: str
    unit: str
    ours: float
    plain: float | None = None

    @property
    def ratio(self) -> float | None:
        return self.ours / self.plain if self.plain else None


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    seconds_of_imports = _timed(_import_libraries)
    with tempfile.TemporaryDirectory() as home, quiet_libraries():
        settings = replace(Settings.from_environment(), home=Path(home), models=Path(home) / "models")
        settings.create_folders()
        found = find_base(options.base)
        write_loras(settings.loras, found, options.rank)
        request = GenerateRequest.build(
            prompt="red apple", base=found.path_or_id, num_inference_steps=options.steps, seed=1
        )
        lines = [
            Line("import torch, diffusers, transformers, peft", "s", seconds_of_imports),
            *measure_loads(found),
            *measure_images(settings, found, request, options.images),
            *measure_stack(settings, found),
            Line("peak memory of the process", "MiB", _peak_mib()),
            *_device_memory(),
        ]
    _report(lines, found, as_json=options.json)
    return 0


def measure_loads(found: FoundBase) -> Iterator[Line]:
    """A base on its device, ready to draw."""
    ours, plain = _in_turns(lambda: Pipelines().get(found, ignore), lambda: load_plain(found), LOADS)
    yield Line("load the base", "s", ours, plain)


def measure_images(
    settings: Settings, found: FoundBase, request: GenerateRequest, images: int
) -> Iterator[Line]:
    """A warm base draws and saves a PNG; the first image of each kind is left out."""
    generator, pipe = Generator(settings), load_plain(found)
    for label, slugs in (("", SLUGS[:0]), (" with one LoRA", SLUGS[:1])):
        asked = request.model_copy(update={"loras": tuple(LoraUse(slug=slug) for slug in slugs)})
        for slug in slugs:
            pipe.load_lora_weights(str(settings.loras / slug), adapter_name=slug)
        plain = plain_call(pipe, found, asked, settings.home / "plain.png")
        generator.generate(asked)
        plain()
        ours, theirs = _in_turns(lambda asked=asked: generator.generate(asked), plain, images)
        yield Line(f"an image{label}", "s", ours, theirs)
        yield Line(f"images per second{label}", "1/s", 1 / ours, 1 / theirs)
    generator.unload()


def measure_stack(settings: Settings, found: FoundBase) -> Iterator[Line]:
    """The adapters of a warm pipeline: reading a LoRA, swapping to one in memory, changing a weight."""
    stack = Pipelines().get(found, ignore).stack
    pipe = load_plain(found)

    def wanted(slug: str, weight: float = 1.0) -> list[Any]:
        return find_loras([LoraUse(slug=slug, weight=weight)], settings.loras)

    for slug in SLUGS:
        ours = _timed(lambda slug=slug: stack.apply(wanted(slug)))
        folder = str(settings.loras / slug)
        theirs = _timed(lambda slug=slug, folder=folder: pipe.load_lora_weights(folder, adapter_name=slug))
        yield Line(f"load LoRA {slug}", "ms", 1000 * ours, 1000 * theirs)
    turn, plain_turn = _alternating(), _alternating()
    swap = _in_turns(
        lambda: stack.apply(wanted(SLUGS[next(turn)])),
        lambda: pipe.set_adapters([SLUGS[next(plain_turn)]], [1.0]),
        SWAPS,
    )
    yield Line("swap to a LoRA in memory", "ms", *(1000 * seconds for seconds in swap))
    weights = _in_turns(
        lambda: stack.apply(wanted("one", 0.5 + 0.1 * next(turn))),
        lambda: pipe.set_adapters(["one"], [0.5 + 0.1 * next(plain_turn)]),
        SWAPS,
    )
    yield Line("change a weight", "ms", *(1000 * seconds for seconds in weights))
    nothing = _in_turns(lambda: stack.apply(wanted("one", 0.5)), lambda: None, SWAPS)
    yield Line("same LoRAs again", "ms", 1000 * nothing[0])


def load_plain(found: FoundBase) -> Any:
    """diffusers' own pipeline on the same device, in the same number format."""
    device = find_device()
    dtype = compute_dtype(device)
    if found.layout == "folder":
        from diffusers import StableDiffusionPipeline

        pipe = StableDiffusionPipeline.from_pretrained(
            found.path_or_id, dtype=dtype, safety_checker=None, feature_extractor=None
        )
    else:
        family = family_of(found)
        pipe = family.pipeline(family.load())
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(device.kind, dtype)


def plain_call(pipe: Any, found: FoundBase, request: GenerateRequest, file: Path) -> Callable[[], None]:
    """The bare call of the pipeline with the same values, and the PNG."""
    import torch

    own = dict(pipe.scheduler.config)
    filled = fit_to(fill_in(request, found), found, pipe, own)
    pipe.scheduler = scheduler_for(filled, own)

    def call() -> None:
        pipe(
            filled.prompt,
            width=filled.width,
            height=filled.height,
            num_inference_steps=filled.num_inference_steps,
            guidance_scale=filled.guidance_scale,
            generator=torch.Generator().manual_seed(1),
        ).images[0].save(file)

    return call


def write_loras(folder: Path, found: FoundBase, rank: int) -> None:
    """Random LoRAs that fit the base, with and without text encoder, into a library."""
    import torch
    from safetensors.torch import save_file

    family = family_of(found)
    parts = family.load()
    for number, slug in enumerate(SLUGS):
        random = torch.Generator().manual_seed(number)
        tensors = {}
        for target in family.targets(parts, text_encoder=number == 0):
            out, *rest = parts.models()[target.part].get_submodule(target.module).weight.shape
            tensors[f"{target.name}.lora_down.weight"] = 0.05 * torch.randn(rank, *rest, generator=random)
            up = 0.05 * torch.randn(out, rank, *[1] * (len(rest) - 1), generator=random)
            tensors[f"{target.name}.lora_up.weight"] = up
            tensors[f"{target.name}.alpha"] = torch.tensor(float(rank))
        (folder / slug).mkdir(parents=True)
        save_file(tensors, folder / slug / f"{slug}.safetensors")


def _in_turns(ours: Callable[[], Any], plain: Callable[[], Any], rounds: int) -> tuple[float, float]:
    times = [(_timed(ours), _timed(plain)) for _ in range(rounds)]
    return statistics.median(a for a, _ in times), statistics.median(b for _, b in times)


def _timed(call: Callable[[], Any]) -> float:
    import torch

    begun = time.perf_counter()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def _alternating() -> Iterator[int]:
    while True:
        yield 0
        yield 1


def _import_libraries() -> None:
    import diffusers  # noqa: F401
    import peft  # noqa: F401
    import transformers  # noqa: F401
    from diffusers import StableDiffusionPipeline  # noqa: F401


def _peak_mib() -> float:
    import psutil

    memory = psutil.Process().memory_info()
    if hasattr(memory, "peak_wset"):
        return float(memory.peak_wset / 2**20)
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def _device_memory() -> Iterator[Line]:
    import torch

    if torch.cuda.is_available():
        yield Line("peak memory of the device", "MiB", torch.cuda.max_memory_allocated() / 2**20)


def _report(lines: Sequence[Line], found: FoundBase, *, as_json: bool) -> None:
    device = find_device()
    if as_json:
        table = [{**asdict(line), "ratio": line.ratio} for line in lines]
        print(json.dumps({"base": found.name, "device": device.title, "lines": table}, indent=2))
        return
    dtype = str(compute_dtype(device)).removeprefix("torch.")
    print(f"base {found.name}, {device.title}, {dtype}\n")
    print("| what | unit | ours | diffusers | ratio |\n| --- | --- | --- | --- | --- |")
    for line in lines:
        plain, ratio = (f"{value:.3g}" if value else "" for value in (line.plain, line.ratio))
        print(f"| {line.what} | {line.unit} | {line.ours:.3g} | {plain} | {ratio} |")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", default="starter", help="base model (default: starter)")
    parser.add_argument("--images", type=int, default=10, help="images of each kind (default: 10)")
    parser.add_argument("--steps", type=int, help="denoising steps (default: the base model's)")
    parser.add_argument("--rank", type=int, default=8, help="rank of the LoRAs (default: 8)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
