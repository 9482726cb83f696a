"""Pictures of the base's own making: shown beside a training set, they keep a LoRA from changing the rest."""

import shutil
from pathlib import Path

from diffusers import StableDiffusionPipeline
from PIL import Image

from recipes.starter import report, settings

FOLDER = "regularisation"
# Things that neither the examples nor the measurements of what a LoRA leaves alone ask for.
THINGS = (
    "lemon", "cherries", "doughnut", "coffee", "unicorn", "panda", "bear", "pig", "monkey", "rabbit",
    "penguin", "mushroom", "sunflower", "bus", "boat", "moon", "star", "snowman", "gift", "trophy", "camera",
    "skull", "tomato", "cookie", "tiger", "duck", "bicycle", "tent", "book", "clock",
)  # fmt: skip


def prompts() -> list[str]:
    """Half without a style, as the plain prompt should stay; half with one; every fourth on a colour."""
    colours, found = list(settings.COLOURS), []
    for number, thing in enumerate(THINGS):
        colour = colours[number // 4 % len(colours)]
        place = f" on a{'n' if colour == 'orange' else ''} {colour} background" if number % 4 == 3 else ""
        style = f", {settings.STYLES[number // 2 % len(settings.STYLES)]} style" if number % 2 else ""
        found.append(f"{thing}{place}{style}")
    return found


def build(model: Path = settings.MODEL) -> None:
    """Draw them and lay them beside the model."""
    asked = prompts()
    write(model, asked, report.draw(StableDiffusionPipeline.from_pretrained(model), asked, seed=2000))


def write(model: Path, prompts: list[str], images: list[Image.Image]) -> None:
    """Images with their prompts as captions, in Kohya's layout."""
    folder = model / FOLDER / "1_things"
    shutil.rmtree(folder.parent, ignore_errors=True)
    folder.mkdir(parents=True)
    for number, (prompt, image) in enumerate(zip(prompts, images, strict=True), 1):
        image.save(folder / f"{number:02d}.png", optimize=True)
        (folder / f"{number:02d}.txt").write_text(prompt + "\n", "utf-8")
