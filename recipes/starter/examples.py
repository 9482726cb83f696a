"""Make the sets of pictures that LoRAs are tried on: the tour's two examples, and three more objects."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from recipes.starter import data, settings
from recipes.starter.settings import INK_SET, TRAINING_SETS, PictureSet

SIZE = 256
# Concepts that the base draws; the ones left out are there to see the style carry over.
INK_CONCEPTS = (
    "red-apple", "banana", "pizza", "dog-face", "fox", "octopus", "cactus", "automobile", "house", "guitar"
)  # fmt: skip


@dataclass(frozen=True)
class View:
    """One picture of the object: which set drew it, what is behind it, whether it is mirrored."""

    style: str
    background: str
    mirrored: bool = False


@dataclass(frozen=True)
class Thing:
    """A reserved emoji as a set: folder, the noun in its captions (the base knows none of them), size."""

    slug: str
    folder: Path
    noun: str
    size: int = SIZE


THINGS = (
    Thing("alien-monster", settings.EXAMPLES / "alien", "creature"),
    Thing("robot", settings.UNSEEN / "robot", "toy", 128),
    Thing("dragon-face", settings.UNSEEN / "dragon", "creature", 128),
    Thing("teapot", settings.UNSEEN / "teapot", "pot", 128),
)
# Only the two sets whose pictures look alike: ten are too few to say how a shape may vary.
VIEWS = (
    View("3d", "white"),
    View("3d", "blue", mirrored=True),
    View("3d", "yellow"),
    View("3d", "green", mirrored=True),
    View("3d", "gray"),
    View("flat", "white", mirrored=True),
    View("flat", "green"),
    View("flat", "orange", mirrored=True),
    View("flat", "red"),
    View("flat", "blue"),
)


def lay(item: PictureSet, slug: str, background: str = "white", mirrored: bool = False) -> Image.Image:
    """One emoji on a coloured square, SIZE pixels wide."""
    emoji = next(emoji for emoji in data.emoji_names() if emoji["slug"] == slug)
    picture = data.picture_finder(item)(emoji)
    if picture is None:
        raise LookupError(f"{item.package} has no {slug}")
    cut = Image.fromarray(data.square(picture, SIZE), "RGBA")
    colour = (1.0, 1.0, 1.0) if background == "white" else settings.COLOURS[background]
    canvas = Image.new("RGBA", cut.size, (*(round(255 * part) for part in colour), 255))
    canvas.alpha_composite(cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else cut)
    return canvas.convert("RGB")


def save(folder: Path, name: str, picture: Image.Image, caption: str) -> None:
    """A picture and its caption, as trainers expect them: same name, ``.png`` and ``.txt``."""
    picture.save(folder / f"{name}.png", optimize=True)
    (folder / f"{name}.txt").write_text(caption + "\n", "utf-8")


def fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def build_thing(thing: Thing) -> None:
    """The thing from ten sides: two drawings, mirrored or not, on white and on colours."""
    sets = {item.style: item for item in TRAINING_SETS}
    folder = fresh(thing.folder)
    for number, view in enumerate(VIEWS, 1):
        picture = lay(sets[view.style], thing.slug, view.background, view.mirrored)
        picture = picture.resize((thing.size, thing.size), Image.Resampling.LANCZOS)
        place = f"an {view.background}" if view.background == "orange" else f"a {view.background}"
        save(folder, f"{folder.name}-{number:02d}", picture, f"a zwx {thing.noun} on {place} background")


def build() -> None:
    """Write all sets afresh."""
    ink = fresh(settings.EXAMPLES / "ink")
    for slug in INK_CONCEPTS:
        save(ink, slug, lay(INK_SET, slug), f"{settings.CONCEPTS[slug][0]}, zwx style")
    for thing in THINGS:
        build_thing(thing)
    names = ", ".join(thing.folder.name for thing in THINGS)
    print(f"{len(INK_CONCEPTS)} ink pictures, {len(VIEWS)} each of {names}", flush=True)
