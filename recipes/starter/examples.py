"""Make the two example sets that the tour trains on: a style (ink) and an object (an alien)."""

import shutil
from dataclasses import dataclass

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


# Only the two sets whose aliens look alike: ten pictures are too few to say how a shape may vary.
ALIEN_VIEWS = (
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


def save(folder: str, name: str, picture: Image.Image, caption: str) -> None:
    """A picture and its caption, as trainers expect them: same name, ``.png`` and ``.txt``."""
    picture.save(settings.EXAMPLES / folder / f"{name}.png", optimize=True)
    (settings.EXAMPLES / folder / f"{name}.txt").write_text(caption + "\n", "utf-8")


def build() -> None:
    """Write both sets afresh."""
    for folder in ("ink", "alien"):
        shutil.rmtree(settings.EXAMPLES / folder, ignore_errors=True)
        (settings.EXAMPLES / folder).mkdir(parents=True)
    for slug in INK_CONCEPTS:
        save("ink", slug, lay(INK_SET, slug), f"{settings.CONCEPTS[slug][0]}, zwx style")
    sets = {item.style: item for item in TRAINING_SETS}
    for number, view in enumerate(ALIEN_VIEWS, 1):
        picture = lay(sets[view.style], "alien-monster", view.background, view.mirrored)
        place = f"an {view.background}" if view.background == "orange" else f"a {view.background}"
        save("alien", f"alien-{number:02d}", picture, f"a zwx creature on {place} background")
    print(f"{len(INK_CONCEPTS)} ink pictures, {len(ALIEN_VIEWS)} alien pictures", flush=True)
