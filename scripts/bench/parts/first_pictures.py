"""The first picture of a new process; and of a warm base a hires fix, several pictures at once, and a grid:
by the studio and by diffusers alone."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from lora_studio.generation.requests.settled_request import stretched
from lora_studio.generator import Generator
from lora_studio.grids.grid_request import Axis, GridRequest
from lora_studio.request import GenerateRequest
from lora_studio.settings import CHECKOUT, Settings
from lora_studio.studio import open_studio
from scripts.bench.parts.drawing_subject import Line, Subject, call_options, load_plain

STARTS, AT_ONCE = 3, 4
SCALE = 2.0
GUIDANCE = (2, 4)
PLAIN = """
import sys
import torch
from diffusers import StableDiffusionPipeline
base, prompt, size, steps, guidance, file = sys.argv[1:]
pipe = StableDiffusionPipeline.from_pretrained(base, safety_checker=None, feature_extractor=None)
pipe.set_progress_bar_config(disable=True)
pipe(prompt, width=int(size), height=int(size), num_inference_steps=int(steps),
     guidance_scale=float(guidance), generator=torch.Generator().manual_seed(1)).images[0].save(file)
"""
"""The shortest program of diffusers that draws a picture; with the scheduler that the base comes with."""


def measure_cold(settings: Settings, subject: Subject, filled: GenerateRequest) -> Iterator[Line]:
    """The seconds of the processor from the start of a process to its end with the picture saved, imports
    and the base's loading included."""
    size = f"{filled.width}x{filled.height}"
    given = (filled.prompt, f"{filled.num_inference_steps}", f"{filled.guidance_scale}")
    ours = (
        "-m",
        "lora_studio",
        "generate",
        "--prompt",
        given[0],
        "--steps",
        given[1],
        "--guidance",
        given[2],
    )
    ours += ("--base", subject.request.base, "--size", size, "--seed", "1")
    plain = ("-c", PLAIN, str(subject.found.path_or_id), given[0], f"{filled.width}", *given[1:], "cold.png")
    times = [(spent_by(ours, settings), spent_by(plain, settings)) for _ in range(STARTS)]
    studio, alone = (sorted(column)[STARTS // 2] for column in zip(*times, strict=True))
    yield Line("first image of a new process, CPU", "s", studio, alone)


def spent_by(program: tuple[str, ...], settings: Settings) -> float:
    """The processor's seconds of a program in a process of its own."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(CHECKOUT),
        "LORA_STUDIO_HOME": str(settings.home / "cold"),
        "LORA_STUDIO_MODELS": str(settings.models),
        "HF_HUB_OFFLINE": "1",
    }
    before = os.times()
    subprocess.run(
        [sys.executable, *program], cwd=settings.home, env=environment, check=True, capture_output=True
    )
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def measure_more(settings: Settings, subject: Subject, filled: GenerateRequest) -> Iterator[Line]:
    """A second pass at twice the size, so many pictures of one request, and a grid of as many cells."""
    rounds = max(1, subject.options.images // 3)
    generator, pipe, file = Generator(settings), load_plain(subject.found), settings.home / "more.png"
    options = call_options(pipe, filled)
    hires = subject.request.model_copy(update={"hires_scale": SCALE})
    second = generator.generate(hires)[0].request
    plain = plain_hires(pipe, second, options, file)
    plain()
    yield Line(
        "a hires fix to twice the size",
        "s",
        *subject.in_turns(lambda: generator.generate(hires), plain, rounds),
    )
    several = subject.request.model_copy(update={"count": AT_ONCE})

    def one_call() -> None:
        for number, image in enumerate(
            pipe(filled.prompt, num_images_per_prompt=AT_ONCE, **options()).images
        ):
            image.save(file.with_stem(f"more-{number}"))

    one_call()
    yield Line(
        f"{AT_ONCE} images of one request, diffusers' in one call",
        "s",
        *subject.in_turns(lambda: generator.generate(several), one_call, rounds),
    )
    generator.unload()
    yield measure_grid(settings, subject, pipe, filled)


def plain_hires(
    pipe: Any, second: GenerateRequest, options: Callable[[], dict[str, Any]], file: Path
) -> Callable[[], None]:
    """The two pipelines one after the other, with as many steps each."""
    import torch
    from diffusers import StableDiffusionImg2ImgPipeline
    from PIL import Image

    redraw = StableDiffusionImg2ImgPipeline.from_pipe(pipe)
    redraw.set_progress_bar_config(disable=True)
    steps, _ = stretched(second.hires_steps or 1, second.hires_strength, 1000)
    size = round(SCALE * (second.width or 0)), round(SCALE * (second.height or 0))

    def call() -> None:
        first = pipe(second.prompt, **options()).images[0]
        redraw(
            second.prompt,
            image=first.resize(size, Image.Resampling.LANCZOS),
            strength=second.hires_strength,
            num_inference_steps=steps,
            guidance_scale=second.guidance_scale,
            generator=torch.Generator().manual_seed(1),
        ).images[0].save(file)

    return call


def measure_grid(settings: Settings, subject: Subject, pipe: Any, filled: GenerateRequest) -> Line:
    """Two seeds by two guidances with the labelled sheet, beside four calls and a sheet without labels."""
    from PIL import Image

    seeds, file = itertools.count(1, 2), settings.home / "grid.png"
    options, size = call_options(pipe, filled), (filled.width or 0, filled.height or 0)
    rounds = max(1, subject.options.images // 3)
    with closing(open_studio(settings, start_worker=False)) as studio:

        def draw() -> None:
            first = next(seeds)  # what the gallery has is not drawn again
            x = Axis(parameter="seed", values=f"{first}, {first + 1}")
            y = Axis(parameter="guidance_scale", values=", ".join(map(str, GUIDANCE)))
            studio.grid(GridRequest(request=subject.request, x=x, y=y))

        def plain() -> None:
            sheet = Image.new("RGB", (2 * size[0], 2 * size[1]))
            for place in range(4):
                given = {**options(), "guidance_scale": GUIDANCE[place // 2]}
                cell = pipe(filled.prompt, **given).images[0]
                cell.save(file.with_stem(f"cell-{place}"))
                sheet.paste(cell, (place % 2 * size[0], place // 2 * size[1]))
            sheet.save(file)

        draw()
        line = Line("a grid of 2 × 2 and its sheet", "s", *subject.in_turns(draw, plain, rounds))
        studio.generator.unload()
    return line
