"""Speed of generation: python -m scripts.bench.generate [--base starter] [--keep FOLDER] [--json]

On the embedded base and on a random base model of SD 1.5's size, which is made first (`--keep` a folder to
make it only once, `--no-full-size` to leave it out). Each line is measured beside what diffusers does by
itself (load the pipeline, load_lora_weights, call it), in turns within one run, so that a busy machine slows
both. Medians; "ratio" is ours / diffusers'. The LoRAs are random ones with Kohya's default layers. Seconds
are the clock's, or with `--processor` those of the processor, which hold where others use the machine too.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lora_studio.families import family_of
from lora_studio.families.base_files.found_base import FoundBase
from lora_studio.families.base_files.locate import find_base
from lora_studio.families.weights.silence_libraries import quiet_libraries
from lora_studio.generation import lora_lookup
from lora_studio.generation.lora_stack import LoraStack
from lora_studio.generation.pipelines import compute_dtype
from lora_studio.generator import Generator
from lora_studio.request import GenerateRequest, LoraUse
from lora_studio.runtime import find_device
from lora_studio.settings import Settings
from scripts.bench.parts.drawing_subject import Line, Subject, load_ours, load_plain, plain_call
from scripts.bench.parts.first_pictures import measure_cold, measure_more

SLUGS = ("one", "two")
LOADS, SWAPS = 3, 10
WARM_UP = 10
"""Images and swaps before growth is measured: allocators and caches fill first."""
MIB = 2**20


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    clock = time.process_time if options.processor else time.perf_counter
    begun = clock()
    _import_libraries()
    seconds_of_imports = clock() - begun
    tables: dict[str, list[Line]] = {}
    with ExitStack() as stack:
        stack.enter_context(quiet_libraries())
        subjects = [_subject(options.base, 50, options)]
        if options.full_size:
            folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
            subjects.append(_subject(str(_full_size(folder)), 1000, options))
        for subject in subjects:
            lines = [Line("import torch, diffusers, transformers, peft", "s", seconds_of_imports)]
            for line in _measure(subject):
                lines.append(line)
                print(f"{subject.found.name}: {line.what}", file=sys.stderr)
            tables[subject.found.name] = lines
            _report(lines, subject, as_json=options.json)
    if options.json:
        print(
            json.dumps({name: [_as_json(line) for line in lines] for name, lines in tables.items()}, indent=2)
        )
    return 0


def _measure(subject: Subject) -> Iterator[Line]:
    with tempfile.TemporaryDirectory() as home:
        settings = replace(Settings.from_environment(), home=Path(home), models=Path(home) / "models")
        settings.create_folders()
        write_loras(settings.loras, subject.found, subject.options.rank)
        yield from measure_loads(settings, subject)
        yield from measure_images(settings, subject)
        yield from measure_stack(settings, subject)
        yield from measure_growth(settings, subject)
        yield Line("peak memory of the process so far", "MiB", _peak_mib())
        yield from _device_memory()


def measure_loads(settings: Settings, subject: Subject) -> Iterator[Line]:
    """A base on its device, and then to the first image."""
    found, generator = subject.found, Generator(settings)
    filled = generator.generate(subject.request)[0].request
    generator.unload()
    ours, plain = subject.in_turns(lambda: load_ours(settings, found), lambda: load_plain(found), LOADS)
    yield Line("load the base", "s", ours, plain)
    file = settings.home / "first.png"
    ours, plain = subject.in_turns(
        lambda: Generator(settings).generate(subject.request),
        lambda: plain_call(load_plain(found), filled, file)(),
        LOADS,
    )
    yield Line("load the base and draw the first image", "s", ours, plain)
    if found.layout == "folder":
        yield from measure_cold(settings, subject, filled)
    yield from measure_more(settings, subject, filled)


def measure_images(settings: Settings, subject: Subject) -> Iterator[Line]:
    """A warm base draws and saves a PNG; the first image of each kind is left out."""
    found, images = subject.found, subject.options.images
    generator, pipe = Generator(settings), load_plain(found)
    for label, slugs in (("", SLUGS[:0]), (" with one LoRA", SLUGS[:1])):
        asked = subject.request.model_copy(update={"loras": tuple(LoraUse(slug=slug) for slug in slugs)})
        for slug in slugs:
            pipe.load_lora_weights(str(settings.loras / slug), adapter_name=slug)
        filled = generator.generate(asked)[0].request
        plain = plain_call(pipe, filled, settings.home / "plain.png")
        plain()
        ours, theirs = subject.in_turns(lambda asked=asked: generator.generate(asked), plain, images)
        yield Line(f"a warm image{label}", "s", ours, theirs, aim=1.03, by_ratio=True)
        yield Line(f"images per second{label}", "1/s", 1 / ours, 1 / theirs)
    generator.unload()


def measure_stack(settings: Settings, subject: Subject) -> Iterator[Line]:
    """A warm pipeline's adapters: swapping to a LoRA never read, to one in memory, changing a weight."""
    base, pipe = load_ours(settings, subject.found), load_plain(subject.found)

    def wanted(slug: str, weight: float = 1.0) -> list[Any]:
        return lora_lookup.find_loras([LoraUse(slug=slug, weight=weight)], settings.loras)

    forgetful = LoraStack(base.model.models(), subject.found.name, kept_bytes=1)
    turn, plain_turn = _alternating(), _alternating()

    def swap_from_disk() -> None:
        lora_lookup._read_once.cache_clear()  # as a file that was never seen before
        forgetful.apply(wanted(SLUGS[next(turn)]))

    def plain_swap() -> None:
        pipe.unload_lora_weights()
        slug = SLUGS[next(plain_turn)]
        pipe.load_lora_weights(str(settings.loras / slug), adapter_name=slug)

    ours, plain = subject.in_turns(swap_from_disk, plain_swap, SWAPS)
    yield Line("swap to a LoRA on disk", "ms", 1000 * ours, 1000 * plain, aim=subject.swap_aim)
    forgetful.apply([])
    pipe.unload_lora_weights()
    for slug in SLUGS:
        base.stack.apply(wanted(slug))
        pipe.load_lora_weights(str(settings.loras / slug), adapter_name=slug)
    swap = subject.in_turns(
        lambda: base.stack.apply(wanted(SLUGS[next(turn)])),
        lambda: pipe.set_adapters([SLUGS[next(plain_turn)]], [1.0]),
        SWAPS,
    )
    yield Line("swap to a LoRA in memory", "ms", *(1000 * seconds for seconds in swap), aim=subject.swap_aim)
    weights = subject.in_turns(
        lambda: base.stack.apply(wanted("one", 0.5 + 0.1 * next(turn))),
        lambda: pipe.set_adapters(["one"], [0.5 + 0.1 * next(plain_turn)]),
        SWAPS,
    )
    yield Line("change a weight", "ms", *(1000 * seconds for seconds in weights))
    nothing = subject.in_turns(lambda: base.stack.apply(wanted("one", 0.5)), lambda: None, SWAPS)
    yield Line("same LoRAs again", "ms", 1000 * nothing[0])


def measure_growth(settings: Settings, subject: Subject) -> Iterator[Line]:
    """Memory before and after many small images, with a swap of LoRAs among every few of them."""
    options = subject.options
    if not options.growth:
        return
    generator = Generator(settings)
    size = min(subject.request.width or 64, 64)
    small = subject.request.model_copy(update={"num_inference_steps": 1, "width": size, "height": size})
    every = max(1, options.growth // max(1, options.swaps))

    def draw(first: int, last: int) -> None:
        for number in range(first, last):
            slug = SLUGS[number // every % len(SLUGS)]
            generator.generate(small.model_copy(update={"loras": (LoraUse(slug=slug),), "seed": number}))

    draw(0, max(WARM_UP, 2 * every))
    before = _state_of_memory()
    draw(0, options.growth)
    after = _state_of_memory()
    swaps = options.growth // every
    what = f"after {options.growth} images and {swaps} swaps"
    yield Line("memory of the process before", "MiB", before[0])
    yield Line(f"memory of the process {what}", "MiB", after[0], before[0], aim=1.02, by_ratio=True)
    yield Line("tensors alive before", "", before[1])
    yield Line(f"tensors alive {what}", "", after[1], before[1], aim=1.0, by_ratio=True)
    generator.unload()


def write_loras(folder: Path, found: FoundBase, rank: int) -> None:
    """Random LoRAs that fit the base, with and without text encoder, into a library."""
    import torch
    from safetensors.torch import save_file

    model = family_of(found).load()
    for number, slug in enumerate(SLUGS):
        random = torch.Generator().manual_seed(number)
        tensors = {}
        for target in model.targets(texts=number == 0):
            out, *rest = model.models()[target.part].get_submodule(target.module).weight.shape
            tensors[f"{target.name}.lora_down.weight"] = 0.05 * torch.randn(rank, *rest, generator=random)
            up = 0.05 * torch.randn(out, rank, *[1] * (len(rest) - 1), generator=random)
            tensors[f"{target.name}.lora_up.weight"] = up
            tensors[f"{target.name}.alpha"] = torch.tensor(float(rank))
        (folder / slug).mkdir(parents=True)
        save_file(tensors, folder / slug / f"{slug}.safetensors")


def _subject(base: str, swap_aim: float, options: argparse.Namespace) -> Subject:
    found = find_base(base)
    is_small = found.entry is not None and not found.entry.source
    request = GenerateRequest(
        prompt="red apple",
        base=base,
        num_inference_steps=options.steps or (None if is_small else 4),
        width=options.size or (None if is_small else 256),
        height=options.size or (None if is_small else 256),
        seed=1,
    )
    return Subject(found=found, swap_aim=swap_aim, request=request, options=options)


def _full_size(folder: Path) -> Path:
    """A random base model of SD 1.5's size in `folder`, which is made if it isn't there."""
    from scripts.bench.full_size import make_sd15

    place = folder / "random-sd15"
    if not (place / "model_index.json").is_file():
        print(f"making {place}", file=sys.stderr)
        make_sd15(place)
    return place


def _alternating() -> Iterator[int]:
    while True:
        yield 0
        yield 1


def _import_libraries() -> None:
    import diffusers  # noqa: F401
    import peft  # noqa: F401
    import transformers  # noqa: F401
    from diffusers import StableDiffusionPipeline  # noqa: F401


def _state_of_memory() -> tuple[float, int]:
    """MiB of the process, and how many tensors are alive."""
    import psutil
    import torch

    gc.collect()
    alive = sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())
    return psutil.Process().memory_info().rss / MIB, alive


def _peak_mib() -> float:
    import psutil

    memory = psutil.Process().memory_info()
    if hasattr(memory, "peak_wset"):
        return float(memory.peak_wset / MIB)
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MIB


def _device_memory() -> Iterator[Line]:
    import torch

    if torch.cuda.is_available():
        yield Line("peak memory of the device", "MiB", torch.cuda.max_memory_allocated() / MIB)


def _as_json(line: Line) -> dict[str, Any]:
    return {**asdict(line), "ratio": line.ratio, "verdict": line.verdict}


def _report(lines: Sequence[Line], subject: Subject, *, as_json: bool) -> None:
    if as_json:
        return
    device = find_device()
    dtype = str(compute_dtype(device)).removeprefix("torch.")
    print(f"\nbase {subject.found.name}, {device.title}, {dtype}\n")
    print("| what | unit | ours | diffusers / before | ratio | aim |\n| --- | --- | --- | --- | --- | --- |")
    for line in lines:
        plain, ratio = (f"{value:.4g}" if value else "" for value in (line.plain, line.ratio))
        print(f"| {line.what} | {line.unit} | {line.ours:.4g} | {plain} | {ratio} | {line.verdict} |")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--base", default="starter", help="the small base model (default: starter)")
    add("--no-full-size", dest="full_size", action="store_false", help="leave the large base model out")
    add("--keep", type=Path, help="folder in which the large base model is made once and kept (3.4 GB)")
    add("--images", type=int, default=10, help="images of each kind (default: 10)")
    add("--steps", type=int, help="denoising steps (default: the small base's own, 4 on the large one)")
    add("--size", type=int, help="pixels of a side (default: the small base's own, 256 on the large one)")
    add("--rank", type=int, default=8, help="rank of the LoRAs (default: 8)")
    add("--growth", type=int, default=200, help="images while memory is watched (default: 200; 0: none)")
    add("--swaps", type=int, default=50, help="swaps among them (default: 50)")
    add("--processor", action="store_true", help="measure seconds of the processor")
    add("--json", action="store_true", help="print JSON instead of tables")
    return parser


if __name__ == "__main__":
    sys.exit(main())
