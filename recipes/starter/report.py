"""Sheets of what a pipeline draws, with fixed prompts and seeds."""

import json

import torch
from diffusers import StableDiffusionPipeline
from PIL import Image, ImageDraw

from recipes.starter import settings

STEPS = 20
GUIDANCE = 3.0
SMALL_SHEET = [
    *(f"{name}, {style} style" for style in settings.STYLES
      for name in ("red apple", "dog", "rocket", "pizza", "fish",
                   "red heart", "cat", "car", "ghost", "crown")),
    *(f"{colour} heart" for colour in settings.HEARTS), "apple", "dog", "car",
    *(f"{name} on a {colour} background" for name in ("banana", "cat")
      for colour in ("blue", "green", "black", "pink", "red")),
]  # fmt: skip


def draw(
    pipeline: StableDiffusionPipeline, prompts: list[str], *, seed: int = 0, guidance: float = GUIDANCE
) -> list[Image.Image]:
    """One picture a prompt; prompt number n always gets seed + n, whatever the batching."""
    pipeline.set_progress_bar_config(disable=True)
    images: list[Image.Image] = []
    for start in range(0, len(prompts), 10):
        part = prompts[start : start + 10]
        generators = [torch.Generator().manual_seed(seed + start + n) for n in range(len(part))]
        images += pipeline(
            part, num_inference_steps=STEPS, guidance_scale=guidance, generator=generators
        ).images
    return images


def grid(images: list[Image.Image], columns: int, scale: int = 2) -> Image.Image:
    """Images of one size in rows."""
    width, height = images[0].width * scale, images[0].height * scale
    sheet = Image.new("RGB", (width * columns, height * -(-len(images) // columns)), "white")
    for index, image in enumerate(images):
        enlarged = image.resize((width, height), Image.Resampling.LANCZOS)
        sheet.paste(enlarged, (index % columns * width, index // columns * height))
    return sheet


def build_small() -> None:
    """A quick look at the training's last snapshot; written beside it."""
    pipeline = StableDiffusionPipeline.from_pretrained(settings.SNAPSHOT)
    minutes = json.loads((settings.SNAPSHOT / "training.json").read_text("utf-8"))["minutes"]
    grid(draw(pipeline, SMALL_SHEET), columns=10).save(settings.WORK / f"sheet-{round(minutes):03d}.png")


def labelled(title: str, sheet: Image.Image) -> Image.Image:
    """A sheet with a line of text above it."""
    canvas = Image.new("RGB", (sheet.width, sheet.height + 22), "white")
    canvas.paste(sheet, (0, 22))
    ImageDraw.Draw(canvas).text((4, 4), title, fill="black", font_size=14)
    return canvas


def stack(parts: list[Image.Image]) -> Image.Image:
    """Sheets of one width below each other."""
    width, height = max(part.width for part in parts), sum(part.height for part in parts)
    canvas = Image.new("RGB", (width, height), "white")
    top = 0
    for part in parts:
        canvas.paste(part, (0, top))
        top += part.height
    return canvas


def build() -> None:
    """The model card's sheet: every concept in every style, plain words, hearts, backgrounds."""
    pipeline = StableDiffusionPipeline.from_pretrained(settings.MODEL)
    names = [known[0] for known in settings.CONCEPTS.values()]
    parts = []
    for style in settings.STYLES:
        prompts = [f"{name}, {style} style" for name in names]
        parts.append(labelled(f'"..., {style} style"', grid(draw(pipeline, prompts), columns=15, scale=1)))
    hearts = [f"{colour} heart" for colour in settings.HEARTS]
    words = ["apple", "dog", "cat", "car", "house", "fish", "tree", "sun"]
    parts.append(labelled("hearts in seven colours; apple dog cat car house fish tree sun",
                          grid(draw(pipeline, hearts + words), columns=15, scale=1)))  # fmt: skip
    for name in ("banana", "cat", "rocket"):
        prompts = [f"{name} on a {colour} background" for colour in settings.COLOURS]
        title = f'"{name} on a ... background": ' + " ".join(settings.COLOURS)
        parts.append(labelled(title, grid(draw(pipeline, prompts), columns=15, scale=1)))
    stack(parts).save(settings.MODEL / "sheet.png", optimize=True)
