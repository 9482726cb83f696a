"""Training and drawing at full size beside diffusers: python -m scripts.bench.gpu [--seconds 480] [--tiny]

For SD 1.5, SDXL and Z-Image, made on the spot with random weights, so that nothing has to be fetched: seconds
from the call to the first step, seconds a step, the most memory, and seconds of a picture; each beside what
diffusers does by itself in the same process and number format: its pipeline, PEFT's LoRA on the same layers
and AdamW. The training once more, with all kept for the way back that PyTorch keeps by itself. Prints JSON,
and ends by its own clock: what there was no time for is named in it. Z-Image needs some 25 GB of disk and
40 GB of memory on the card. `--tiny` does the same with tiny models, on a CPU too.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from PIL import Image, ImageDraw

from lora_studio.config import TrainConfig
from lora_studio.errors import StudioError
from lora_studio.events import Event, StepDone
from lora_studio.families import family_of
from lora_studio.families.base_files.locate import find_base
from lora_studio.families.weights.silence_libraries import quiet_libraries
from lora_studio.generator import Generator
from lora_studio.request import GenerateRequest
from lora_studio.runtime import compute_dtype, find_device
from lora_studio.settings import Settings
from lora_studio.trainer import train
from lora_studio.training.dry_run import Peak
from scripts.bench import full_size
from scripts.bench.parts.bare_training import BareSettings, BareTraining

DIM, WARM_UP = 16, 2
PROMPT = "a disc"
Figures = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A base to measure. `pipeline` makes it at full size, `tiny` is the name of what makes it for tests;
    `resolution` is the side of its pictures."""

    name: str
    pipeline: Callable[[], Any]
    tiny: str
    resolution: int

    @property
    def folder(self) -> str:
        return self.name.lower().replace(" ", "")


CASES = (
    Case(name="SD 1.5", pipeline=full_size.sd15_pipeline, tiny="make_tiny_base", resolution=512),
    Case(name="SDXL", pipeline=full_size.sdxl_pipeline, tiny="make_tiny_sdxl", resolution=1024),
    Case(name="Z-Image", pipeline=full_size.zimage_pipeline, tiny="make_tiny_zimage", resolution=1024),
)


@dataclass(kw_only=True)
class Bench:
    """The frame of all cases. `left_out` names what there was no time for."""

    folder: Path
    seconds: float
    tiny: bool
    steps: int
    precision: str
    begun: float = field(default_factory=time.perf_counter)
    left_out: list[str] = field(default_factory=list)

    def over(self) -> bool:
        return time.perf_counter() - self.begun > self.seconds

    def measure(self, case: Case) -> Figures:
        """All of one case. A part that fails says why, and the next one begins."""
        side = 64 if self.tiny else case.resolution
        case = replace(case, resolution=side)
        base = self._base(case)
        parts: dict[str, Callable[[], Figures]] = {
            "training": lambda: self._train(base, case),
            "bare training": lambda: self._train_bare(base, case),
            "drawing": lambda: self._draw(base, case),
            "bare drawing": lambda: self._draw_bare(base, case),
            "training, all kept": lambda: self._train_keeping_all(base, case),
        }
        found: Figures = {}
        for name, part in parts.items():
            if self.over():
                self.left_out.append(f"{case.name}: {name}")
                continue
            try:
                found[name] = part()
            except (StudioError, RuntimeError, ValueError) as error:
                found[name] = {"error": f"{type(error).__name__}: {error}"}
            _forget()
        for ours, bare in (("training", "bare training"), ("drawing", "bare drawing")):
            found[f"{ours}, ours by diffusers'"] = _ratios(found.get(ours, {}), found.get(bare, {}))
        kept = found.get("training, all kept", {})
        found["training, ours by all kept"] = _ratios(found.get("training", {}), kept)
        return found

    def _base(self, case: Case) -> Path:
        place = self.folder / case.folder
        if self.tiny:
            from tests.support import tiny

            made: Path = getattr(tiny, case.tiny)(place)
            return made
        from accelerate import init_empty_weights

        with init_empty_weights():
            pipeline = case.pipeline()
        return full_size.write_random_base(place, pipeline, find_device().kind)

    def _train(self, base: Path, case: Case, name: str = "lora") -> Figures:
        begun, first = time.perf_counter(), 0.0
        seconds: list[float] = []

        def listen(event: Event) -> None:
            nonlocal first
            if isinstance(event, StepDone):
                first = first or time.perf_counter() - event.seconds - begun
                seconds.append(event.seconds)

        values = {
            "pretrained_model_name_or_path": str(base),
            "train_data_dir": str(self._pictures(case)),
            "output_name": "bench",
            "output_dir": str(self.folder / f"{case.folder}-{name}"),
            "resolution": case.resolution,
            "max_train_steps": self.steps,
            "train_batch_size": 1,
            "network_dim": DIM,
            "network_alpha": DIM,
            "network_train_unet_only": True,
            "optimizer_type": "AdamW",
            "gradient_checkpointing": False,
            "mixed_precision": self.precision,
            "sample_every_n_steps": 0,
            "save_every_n_steps": 0,
        }
        with _memory() as most:
            train(TrainConfig.from_values(values), listen, self.over)
        return _figures(first, seconds, most)

    def _train_keeping_all(self, base: Path, case: Case) -> Figures:
        """Train the same without what makes a step keep less for its way back."""
        with mock.patch("lora_studio.training.activations.frugal_modules.LARGE", math.inf):
            return self._train(base, case, "lora-all-kept")

    def _train_bare(self, base: Path, case: Case) -> Figures:
        found = family_of(find_base(str(base))).load()
        layers = [target.module for target in found.targets(texts=False)]
        del found
        device = find_device()
        with _memory() as most:
            begun = time.perf_counter()
            bare = BareTraining(
                BareSettings(
                    base=base,
                    pictures=[(path, PROMPT) for path in sorted(self._pictures(case).glob("*.png"))],
                    layers=layers,
                    resolution=case.resolution,
                    dim=DIM,
                    device=device.kind,
                    dtype=compute_dtype(self.precision, device),
                )
            )
            first = time.perf_counter() - begun
            seconds = bare.steps(self.steps, self.over)
        return _figures(first, seconds, most)

    def _draw(self, base: Path, case: Case) -> Figures:
        settings = replace(
            Settings.from_environment(), home=self.folder / "home", models=self.folder / "models"
        )
        settings.create_folders()
        generator = Generator(settings)
        steps = 2 if self.tiny else 20
        request = GenerateRequest(
            prompt=PROMPT,
            base=str(base),
            num_inference_steps=steps,
            width=case.resolution,
            height=case.resolution,
            guidance_scale=4.0,
            seed=1,
        )
        with _memory() as most:
            seconds = [_timed(lambda: generator.generate(request)) for _ in range(3)]
        generator.unload()
        return _pictures_of(seconds, most)

    def _draw_bare(self, base: Path, case: Case) -> Figures:
        from diffusers import DiffusionPipeline

        device = find_device()
        dtype = compute_dtype(self.precision, device)
        steps = 2 if self.tiny else 20
        with _memory() as most:
            begun = time.perf_counter()
            pipe = DiffusionPipeline.from_pretrained(base, dtype=dtype).to(device.kind)
            pipe.set_progress_bar_config(disable=True)
            loaded = time.perf_counter() - begun

            def draw() -> None:
                pipe(
                    prompt=PROMPT,
                    num_inference_steps=steps,
                    width=case.resolution,
                    height=case.resolution,
                    guidance_scale=4.0,
                    generator=torch.Generator().manual_seed(1),
                ).images[0].save(self.folder / "bare.png")

            seconds = [_timed(draw) for _ in range(3)]
        return _pictures_of([loaded + seconds[0], *seconds[1:]], most)

    def _pictures(self, case: Case) -> Path:
        """Four pictures of the size that is trained at."""
        folder, side = self.folder / f"pictures-{case.resolution}", case.resolution
        folder.mkdir(exist_ok=True)
        for number in range(4):
            picture = Image.new("RGB", (side, side), (40 * number, 90, 200 - 40 * number))
            ImageDraw.Draw(picture).ellipse((side // 4, side // 4, side // 2, side // 2), fill=(250, 200, 30))
            picture.save(folder / f"{number}.png")
            (folder / f"{number}.txt").write_text(PROMPT, encoding="utf-8")
        return folder


def _figures(first: float, seconds: Sequence[float], most: Peak) -> Figures:
    kept = seconds[WARM_UP:] or seconds
    return {
        "seconds to the first step": round(first, 3),
        "seconds a step": round(statistics.median(kept), 5) if kept else None,
        "steps": len(seconds),
        **_bytes(most),
    }


def _pictures_of(seconds: Sequence[float], most: Peak) -> Figures:
    """The first of them pays for loading."""
    return {
        "seconds to the first picture": round(seconds[0], 3),
        "seconds a picture": round(min(seconds[1:]), 4),
        **_bytes(most),
    }


def _bytes(most: Peak) -> Figures:
    if most.device.kind == "cuda":
        return {"most GB": round(torch.cuda.max_memory_allocated() / 1e9, 3)}
    return {"most GB": round(most.ram / 1e9, 3)}


def _ratios(ours: Figures, bare: Figures) -> Figures:
    return {
        name: round(value / bare[name], 3)
        for name, value in ours.items()
        if name != "steps" and isinstance(value, float) and bare.get(name)
    }


def _timed(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


@contextmanager
def _memory() -> Iterator[Peak]:
    with Peak(find_device()).watched() as peak:
        yield peak


def _forget() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=440, help="begin nothing after these (default: 440)")
    parser.add_argument("--steps", type=int, default=30, help="steps of each training (default: 30)")
    parser.add_argument("--only", default="", help="bases to measure, such as sd1.5,z-image (default: all)")
    parser.add_argument("--tiny", action="store_true", help="tiny models, 64 px, 32 bit on a CPU")
    options = parser.parse_args(arguments)
    device, begun = find_device(), time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="gpu-bench-") as folder, quiet_libraries():
        bench = Bench(
            folder=Path(folder),
            seconds=options.seconds,
            tiny=options.tiny,
            steps=options.steps,
            precision="no" if options.tiny else "bf16",
        )
        wanted = options.only.split(",") if options.only else [case.folder for case in CASES]
        cases = {}
        for case in CASES:
            if case.folder in wanted and not bench.over():
                cases[case.name] = bench.measure(case)
                print(f"{case.name}: {json.dumps(cases[case.name])}", file=sys.stderr, flush=True)
            elif case.folder in wanted:
                bench.left_out.append(case.name)
    print(
        json.dumps(
            {
                "device": device.title,
                "torch": torch.__version__,
                "seconds": round(time.perf_counter() - begun, 1),
                "left out": bench.left_out,
                "cases": cases,
            },
            indent=2,
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
