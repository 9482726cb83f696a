"""A base to draw with, by the studio and by diffusers alone, and the lines of figures about both."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_studio.events import ignore
from lora_studio.families import family_of
from lora_studio.families.base_files.found_base import FoundBase
from lora_studio.families.schedulers import build_scheduler
from lora_studio.generation.pipelines import LoadedBase, Pipelines, compute_dtype
from lora_studio.request import GenerateRequest
from lora_studio.runtime import find_device
from lora_studio.settings import Settings


@dataclass(frozen=True)
class Line:
    """Medians in `unit`; `plain` is None where diffusers has nothing to compare with. `aim` is the most that
    `ours`, or with `by_ratio` the ratio, should be."""

    what: str
    unit: str
    ours: float
    plain: float | None = None
    aim: float | None = None
    by_ratio: bool = False

    @property
    def ratio(self) -> float | None:
        return self.ours / self.plain if self.plain else None

    @property
    def verdict(self) -> str:
        reached = self.ratio if self.by_ratio else self.ours
        if self.aim is None or reached is None:
            return ""
        return f"{'met' if reached <= self.aim else 'MISSED'} (≤ {self.aim:g}{' ×' if self.by_ratio else ''})"


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A base to measure on, and how: `swap_aim` in milliseconds, and the request of one image."""

    found: FoundBase
    swap_aim: float
    request: GenerateRequest
    options: argparse.Namespace

    def in_turns(self, ours: Callable[[], Any], plain: Callable[[], Any], rounds: int) -> tuple[float, float]:
        """Medians of the seconds of both, by the clock or of the processor."""
        times = [(self.timed(ours), self.timed(plain)) for _ in range(rounds)]
        return statistics.median(a for a, _ in times), statistics.median(b for _, b in times)

    def timed(self, call: Callable[[], Any]) -> float:
        clock = time.process_time if self.options.processor else time.perf_counter
        begun = clock()
        call()
        wait_for_device()
        return clock() - begun


def load_ours(settings: Settings, found: FoundBase) -> LoadedBase:
    base = Pipelines(settings).get(found, ignore)
    assert base is not None
    return base


def load_plain(found: FoundBase) -> Any:
    """diffusers' own pipeline on the same device, in the same number format."""
    device, dtype = find_device(), compute_dtype(find_device())
    if found.layout == "folder":
        from diffusers import StableDiffusionPipeline

        left_out = {"safety_checker": None, "feature_extractor": None}
        pipe = StableDiffusionPipeline.from_pretrained(found.path_or_id, dtype=dtype, **left_out)
    else:
        pipe = family_of(found).load().pipeline()
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(device.kind, dtype)


def plain_call(pipe: Any, filled: GenerateRequest, file: Path) -> Callable[[], None]:
    """The bare call of the pipeline with the same values, and the PNG."""
    options = call_options(pipe, filled)
    return lambda: pipe(filled.prompt, **options()).images[0].save(file)


def call_options(pipe: Any, filled: GenerateRequest) -> Callable[[], dict[str, Any]]:
    """The options of the pipeline's call; it gets the request's sampler."""
    import torch

    kind = type(pipe.scheduler).__name__
    pipe.scheduler = build_scheduler(filled.sampler, {**pipe.scheduler.config, "_class_name": kind})
    return lambda: {
        "width": filled.width,
        "height": filled.height,
        "num_inference_steps": filled.num_inference_steps,
        "guidance_scale": filled.guidance_scale,
        "generator": torch.Generator().manual_seed(1),
    }


def wait_for_device() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
