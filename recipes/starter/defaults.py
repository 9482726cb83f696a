"""Which sampler, how many steps, how much guidance: measured against real pictures of what was asked for."""

import time
from dataclasses import dataclass, replace

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

from lora_studio.families.schedulers import build_scheduler
from recipes.starter import data, model, settings
from recipes.starter.data import Pictures
from recipes.starter.judge import Judge, load_judge

SIZE = 64
EVERY = 18
OWN_SCHEDULE = dict(model.make_scheduler().config)
BATCH = 12


@dataclass(frozen=True)
class Setting:
    """What generates an image, besides its prompt."""

    sampler: str = "DDIM"
    steps: int = 20
    guidance: float = 3.0


CHOSEN = Setting()
SAMPLERS = ("DDIM", "Euler", "Euler a", "DPM++ 2M", "DPM++ 2M Karras", "UniPC")
SETTINGS = (
    *(Setting(sampler=name, steps=steps) for name in SAMPLERS for steps in (8, 12, 20)),
    *(replace(CHOSEN, steps=steps) for steps in (30, 50)),
    *(replace(CHOSEN, guidance=guidance) for guidance in (1.0, 2.0, 4.0, 5.0, 7.5)),
)  # fmt: skip


@dataclass(frozen=True)
class Score:
    """Means over the prompts: ``near`` is PSNR in dB to the real picture, ``concept`` and ``style`` what the
    judge gives (0..1) for what was asked for, ``seconds`` an image's time in a batch."""

    near: float
    concept: float
    style: float
    seconds: float


def asked() -> list[tuple[str, str]]:
    """Concepts and styles, spread over the whole vocabulary."""
    every = [(slug, style) for slug in settings.CONCEPTS for style in settings.STYLES]
    return every[::EVERY]


def draw(pipeline: StableDiffusionPipeline, prompts: list[str], setting: Setting) -> list[Image.Image]:
    """Prompt n has seed n."""
    images: list[Image.Image] = []
    for start in range(0, len(prompts), BATCH):
        part = prompts[start : start + BATCH]
        generators = [torch.Generator().manual_seed(start + n) for n in range(len(part))]
        images += pipeline(
            part, num_inference_steps=setting.steps, guidance_scale=setting.guidance, generator=generators
        ).images
    return images


def nearness(image: Image.Image, real: torch.Tensor) -> float:
    """PSNR in dB between an image and a picture [3, S, S] in -1..1."""
    made = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1) / 127.5 - 1
    return float(-10 * ((made - real) / 2).square().mean().log10())


def measure(pipeline: StableDiffusionPipeline, judge: Judge, pictures: Pictures, setting: Setting) -> Score:
    """Draw the prompts once with these settings."""
    pairs = asked()
    rows = [pictures.index(slug, style) for slug, style in pairs]
    real = data.on_background(pictures.rgba[rows], torch.ones(len(rows), 3))
    pipeline.scheduler = build_scheduler(setting.sampler, OWN_SCHEDULE)
    started = time.perf_counter()
    prompts = [f"{settings.CONCEPTS[slug][0]}, {style} style" for slug, style in pairs]
    images = draw(pipeline, prompts, setting)
    seconds = (time.perf_counter() - started) / len(images)
    concepts, styles = judge.concept_probabilities(images), judge.style_probabilities(images)
    return Score(
        near=float(np.mean([nearness(image, own) for image, own in zip(images, real, strict=True)])),
        concept=float(
            np.mean([concepts[n, judge.concepts.index(slug)] for n, (slug, _) in enumerate(pairs)])
        ),
        style=float(np.mean([styles[n, judge.styles.index(style)] for n, (_, style) in enumerate(pairs)])),
        seconds=seconds,
    )


def build() -> None:
    """Print a table of all settings."""
    pipeline = StableDiffusionPipeline.from_pretrained(settings.MODEL)
    pipeline.set_progress_bar_config(disable=True)
    judge, pictures = load_judge(), data.load(SIZE)
    print(f"{len(asked())} prompts\n\n| sampler | steps | guidance | PSNR | concept | style | s |")
    print("|---|---|---|---|---|---|---|")
    for setting in SETTINGS:
        score = measure(pipeline, judge, pictures, setting)
        print(
            f"| {setting.sampler} | {setting.steps} | {setting.guidance} | {score.near:.2f} | "
            f"{score.concept:.3f} | {score.style:.3f} | {score.seconds:.2f} |",
            flush=True,
        )
