"""Sheets of what a pipeline draws, with fixed prompts and seeds."""

import json
import textwrap
from typing import Any, Protocol

import torch
from diffusers import StableDiffusionPipeline
from PIL import Image, ImageDraw

from recipes.starter import recolour, settings

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


# Fixed before the model had learned them: 48 things, every style, every background colour, coloured things.
SHEET = (
    "dog, 3d style", "cat on a blue background, 3d style", "pizza, 3d style",
    "rocket on a black background, 3d style", "tiger, 3d style", "taxi, 3d style", "cupcake, 3d style",
    "earth, 3d style", "teddy bear on a pink background, 3d style", "sad face, 3d style",
    "fox, flat style", "owl on a purple background, flat style", "hamburger, flat style", "train, flat style",
    "penguin on a gray background, flat style", "guitar, flat style", "clock, flat style", "crab, flat style",
    "book on a yellow background, flat style", "cool face, flat style",
    "horse, noto style", "bee on a green background, noto style", "strawberry, noto style",
    "fire truck, noto style", "whale, noto style", "mountain, noto style", "drum, noto style",
    "hat on an orange background, noto style", "snail, noto style", "phone, noto style",
    "cow, twemoji style", "parrot on a brown background, twemoji style", "avocado, twemoji style",
    "bicycle, twemoji style", "elephant, twemoji style", "church, twemoji style", "hammer, twemoji style",
    "laptop, twemoji style", "snowman on a red background, twemoji style", "dolphin, twemoji style",
    "blue car, 3d style", "green apple, noto style", "purple umbrella, flat style",
    "yellow balloon, twemoji style",
    "castle", "a tulip", "a picture of a lion", "red heart",
)  # fmt: skip
VOCABULARY = settings.REPOSITORY / "docs" / "img" / "starter-vocabulary.webp"


class Drawing(Protocol):
    """What draws a list of prompts, as diffusers' pipelines do."""

    def set_progress_bar_config(self, *, disable: bool) -> None: ...

    def __call__(
        self, prompts: list[str], *, num_inference_steps: int, guidance_scale: float, generator: list
    ) -> Any: ...


def draw(
    pipeline: Drawing, prompts: list[str], *, seed: int = 0, guidance: float = GUIDANCE
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


def captioned(images: list[Image.Image], texts: list[str], columns: int, side: int = 128) -> Image.Image:
    """A grid with each picture's prompt below it."""
    line, gap = 15, 34
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * side, rows * (side + gap)), "white")
    pen = ImageDraw.Draw(sheet)
    for number, (image, text) in enumerate(zip(images, texts, strict=True)):
        left, top = number % columns * side, number // columns * (side + gap)
        sheet.paste(image.resize((side, side), Image.Resampling.LANCZOS), (left, top))
        lines = textwrap.wrap(f"{number + 1} {text}", 21)
        pen.text(
            (left + 3, top + side + 1), "\n".join(lines[:2]), fill="black", font_size=11, spacing=line - 13
        )
    return sheet


def build() -> None:
    """The model card's sheet of 48 fixed prompts, prompt n with seed n."""
    pipeline = StableDiffusionPipeline.from_pretrained(settings.MODEL)
    sheet = captioned(draw(pipeline, list(SHEET), seed=1), list(SHEET), columns=8)
    sheet.save(settings.MODEL / "sheet.webp", quality=92, method=6)


def build_vocabulary() -> None:
    """Everything that the base knows in every style, and words for colours."""
    pipeline = StableDiffusionPipeline.from_pretrained(settings.MODEL)
    names = [known[0] for known in settings.CONCEPTS.values()]
    parts = []
    for style in settings.STYLES:
        prompts = [f"{name}, {style} style" for name in names]
        parts.append(labelled(f'"..., {style} style"', grid(draw(pipeline, prompts), columns=19, scale=1)))
    for name in ("banana", "cat", "rocket"):
        prompts = [f"{name} on a {colour} background" for colour in settings.COLOURS]
        title = f'"{name} on a ... background": ' + " ".join(settings.COLOURS)
        parts.append(labelled(title, grid(draw(pipeline, prompts), columns=19, scale=1)))
    for name in ("apple", "car", "cat", "umbrella"):
        prompts = [f"{colour} {name}" for colour in recolour.PAINT]
        title = f'"... {name}": ' + " ".join(recolour.PAINT)
        parts.append(labelled(title, grid(draw(pipeline, prompts), columns=19, scale=1)))
    stack(parts).save(VOCABULARY, quality=88, method=6)
