"""The flow base as the first base's sheets and gates draw with theirs, and its own sheet."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, ZImagePipeline

from recipes.starter import autoencoder, gates, judge
from recipes.starter import report as first
from recipes.starter.gates import Gate
from recipes.starter_flow import settings

# Fixed before the training: every thing once, every background colour, every way to word a prompt.
SHEET = (
    "red apple", "banana", "strawberry, 3d style", "watermelon", "pineapple on a purple background", "lemon",
    "carrot on a blue background", "pizza, 3d style", "hamburger", "a doughnut on a black background",
    "coffee", "dog", "cat on a blue background", "panda on a pink background", "a picture of a fox", "frog",
    "a lion, 3d style", "pig", "rabbit on a green background", "owl on a purple background", "fish, 3d style",
    "octopus", "butterfly on a yellow background", "penguin on a gray background", "mushroom", "cactus",
    "tree, 3d style", "sunflower", "rocket on a black background", "car", "boat on an orange background",
    "house", "sun on a blue background", "moon on a black background", "star, 3d style", "a rainbow",
    "snowman on a red background", "crown on a brown background", "bell", "gift", "light bulb", "soccer ball",
    "umbrella, 3d style", "ghost on a gray background", "pumpkin", "red heart", "blue heart, 3d style",
    "green heart on a pink background",
)  # fmt: skip
SIDE = 64


class Drawing:
    """Z-Image's pipeline with the size filled in, and with guidance counted as Stable Diffusion's pipelines
    do: theirs is one more."""

    def __init__(self, folder: Path) -> None:
        self.pipeline = ZImagePipeline.from_pretrained(folder, dtype=torch.float32)

    def set_progress_bar_config(self, *, disable: bool) -> None:
        self.pipeline.set_progress_bar_config(disable=disable)

    def __call__(self, prompts: list[str], *, guidance_scale: float, **how: Any) -> Any:
        return self.pipeline(prompts, height=SIDE, width=SIDE, guidance_scale=guidance_scale - 1, **how)


def build_small() -> None:
    """A quick look at the training's last snapshot: the sheet of 48; written beside it."""
    minutes = json.loads((settings.SNAPSHOT / "training.json").read_text("utf-8"))["minutes"]
    sheet = first.captioned(
        first.draw(Drawing(settings.SNAPSHOT), list(SHEET), seed=1), list(SHEET), columns=8
    )
    sheet.save(settings.WORK / f"sheet-{round(minutes):03d}.png")


def build() -> None:
    """The model card's sheet of 48 fixed prompts, prompt n with seed n."""
    sheet = first.captioned(first.draw(Drawing(settings.MODEL), list(SHEET), seed=1), list(SHEET), columns=8)
    sheet.save(settings.MODEL / "sheet.webp", quality=92, method=6)


def measure() -> int:
    """Measure, print, write ``gates.json`` beside the model; the number of failed gates."""
    drawing, known = Drawing(settings.MODEL), judge.load_judge()
    scores = gates.judged(drawing, known, settings.CONCEPTS, settings.STYLES)
    hearts = [name.removesuffix("-heart") for name in settings.CONCEPTS if name.endswith("-heart")]
    unknown = gates.unknown_word_rate(drawing, known, settings.CONCEPTS)
    unseen = autoencoder.unseen_psnr(AutoencoderKL.from_pretrained(settings.MODEL / "vae"), SIDE)
    return gates.keep(
        [
            Gate("background colour obeyed", gates.background_rate(drawing), 0.9),
            Gate("heart hue right", gates.heart_rate(drawing, hearts, settings.STYLES), 0.9),
            Gate("concept first guess", scores["concept_top1"], 0.7),
            Gate("concept in first five", scores["concept_top5"], 0.9),
            Gate("style first guess", scores["style"], 0.75),
            Gate("concept in first five beside an unknown word", unknown, 0.8),
            Gate("autoencoder PSNR on unseen pictures, dB", unseen, 30.0),
            Gate("seconds per image, one thread", gates.seconds_per_image(drawing, threads=1), 3.0, True),
            Gate("seconds per image, two threads", gates.seconds_per_image(drawing, threads=2), 1.5, True),
        ],
        settings.MODEL,
    )
