"""Put the finished snapshot where the app finds it, with the pictures that keep a LoRA to its subject."""

import os
import shutil

from recipes.starter import report as first
from recipes.starter import settings as pictures
from recipes.starter.regularisation import write
from recipes.starter_flow import report, settings, text_to_image

KEPT = ("README.md", "NOTICE", "sheet.webp", "gates.json")
# Things that neither the examples nor the measurements of what a LoRA leaves alone ask for.
THINGS = (
    "lemon", "doughnut", "coffee", "panda", "pig", "rabbit", "penguin", "mushroom", "sunflower", "boat",
    "moon", "star", "snowman", "gift", "banana", "watermelon", "pineapple", "carrot", "pizza", "hamburger",
    "octopus", "cactus", "house", "sun", "rainbow", "light bulb", "soccer ball", "pumpkin", "frog", "owl",
)  # fmt: skip


def publish() -> None:
    """Write the snapshot to ``models/starter-flow`` in one swap."""
    part, old = (settings.MODEL.with_name(f"{settings.MODEL.name}.{end}") for end in ("part", "old"))
    for folder in (part, old):
        shutil.rmtree(folder, ignore_errors=True)
    text_to_image.write_pipeline(report.Drawing(settings.SNAPSHOT).pipeline, part)
    for name in KEPT:
        if (settings.MODEL / name).is_file():
            shutil.copyfile(settings.MODEL / name, part / name)
    if settings.MODEL.exists():
        os.replace(settings.MODEL, old)
    os.replace(part, settings.MODEL)
    shutil.rmtree(old, ignore_errors=True)
    size = sum(path.stat().st_size for path in settings.MODEL.rglob("*") if path.is_file())
    print(f"{settings.MODEL.name}: {size / 1e6:.1f} MB", flush=True)


def draw_regularisation() -> None:
    """Draw the regularisation pictures and lay them beside the model, in Kohya's layout."""
    colours, asked = list(pictures.COLOURS), []
    for number, thing in enumerate(THINGS):
        colour = colours[number // 4 % len(colours)]
        place = f" on a{'n' if colour == 'orange' else ''} {colour} background" if number % 4 == 3 else ""
        asked.append(f"{thing}{place}{', 3d style' if number % 2 else ''}")
    write(settings.MODEL, asked, first.draw(report.Drawing(settings.MODEL), asked, seed=2000))
