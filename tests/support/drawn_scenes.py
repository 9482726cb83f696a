"""Pictures as people train on, drawn from a seed: each of a kind that a check may take for a bad one.

Photographs with all of them sharp or only the subject, things on white paper, drawings in ink and in flat
colours, landscapes under a clear sky, at night and in fog, grain and textures.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy
from PIL import Image, ImageDraw, ImageFilter

Size = tuple[int, int]
SIZES: tuple[Size, ...] = ((768, 768), (896, 640), (640, 896), (1024, 768), (720, 960), (960, 540))


def scene(seed: int, size: Size | None = None) -> Image.Image:
    """A picture of about half a megapixel; its kind follows from the seed, like all else."""
    drawn = numpy.random.default_rng(seed)
    kinds = list(KINDS.values())
    return kinds[seed % len(kinds)](drawn, size or SIZES[int(drawn.integers(len(SIZES)))])


def colour(drawn: numpy.random.Generator, low: int = 20, high: int = 235) -> tuple[int, int, int]:
    red, green, blue = (int(level) for level in drawn.integers(low, high, 3))
    return red, green, blue


def clouds(drawn: numpy.random.Generator, size: Size, *, low: int = 0, high: int = 255) -> Image.Image:
    """Colours that change at several scales, down to grain, as surfaces of things do."""
    whole = numpy.zeros((size[1], size[0], 3), numpy.float32)
    for cells, weight in ((3, 1.0), (9, 0.5), (31, 0.25), (127, 0.18)):
        small = drawn.random((cells, cells, 3), numpy.float32) * 255
        layer = Image.fromarray(small.astype(numpy.uint8)).resize(size, Image.Resampling.BICUBIC)
        whole += weight * numpy.asarray(layer, numpy.float32)
    whole += drawn.normal(0, 9, (size[1], size[0], 1)).astype(numpy.float32)
    whole = (whole - whole.min()) / (whole.max() - whole.min())
    return Image.fromarray((low + whole * (high - low)).clip(0, 255).astype(numpy.uint8))


def things(drawn: numpy.random.Generator, image: Image.Image, count: int, *, where: float = 0.5) -> None:
    """Things with edges drawn into a picture, around a place from its left (0) to its right (1)."""
    pen, (wide, high) = ImageDraw.Draw(image), image.size
    for _ in range(count):
        x = int((where + drawn.normal(0, 0.17 if where == 0.5 else 0.04)) * wide)
        y = int((0.5 + drawn.normal(0, 0.17)) * high)
        broad, tall = (int(side) for side in drawn.integers(high // 12, high // 4, 2))
        box = (x - broad, y - tall, x + broad, y + tall)
        shape = int(drawn.integers(4))
        if shape == 0:
            pen.ellipse(box, fill=colour(drawn), outline=colour(drawn), width=3)
        elif shape == 1:
            pen.rectangle(box, fill=colour(drawn))
        elif shape == 2:
            corners = [(int(a), int(b)) for a, b in drawn.normal((x, y), (broad, tall), (5, 2))]
            pen.polygon(corners, fill=colour(drawn), outline=colour(drawn))
        else:
            for _ in range(6):
                ends = drawn.normal((x, y, x, y), (broad, tall, broad, tall))
                pen.line([int(end) for end in ends], fill=colour(drawn), width=int(drawn.integers(2, 8)))


def _photograph(drawn: numpy.random.Generator, size: Size) -> Image.Image:
    image = clouds(drawn, size)
    things(drawn, image, 14)
    return image


def _portrait(drawn: numpy.random.Generator, size: Size) -> Image.Image:
    """Only the subject is sharp."""
    image = clouds(drawn, size).filter(ImageFilter.GaussianBlur(14))
    things(drawn, image, 7)
    return image


def _on_white(drawn: numpy.random.Generator, size: Size) -> Image.Image:
    image = Image.new("RGB", size, "white")
    things(drawn, image, 9)
    return image


def _ink(drawn: numpy.random.Generator, size: Size) -> Image.Image:
    image = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(image)
    middle = numpy.array(size * 2) / 2
    for _ in range(40):
        ends = drawn.normal(middle, numpy.array(size * 2) / 5)
        pen.line([int(end) for end in ends], fill="black", width=int(drawn.integers(2, 7)))
    for _ in range(6):
        x, y = drawn.normal(middle[:2], numpy.array(size) / 6)
        radius = int(drawn.integers(20, 90))
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), outline="black", width=4)
    return image


def _flat(drawn: numpy.random.Generator, size: Size) -> Image.Image:
    """A drawing in a few flat colours, without any grain."""
    image = Image.new("RGB", size, colour(drawn))
    things(drawn, image, 12)
    return image


def _landscape(drawn: numpy.random.Generator, size: Size) -> Image.Image:
    """A clear sky of one colour above a straight horizon."""
    image = Image.new("RGB", size, colour(drawn, 120, 240))
    horizon = int(size[1] * drawn.uniform(0.15, 0.45))
    image.paste(clouds(drawn, (size[0], size[1] - horizon), high=200), (0, horizon))
    things(drawn, image, 6)
    return image


def _night(drawn: numpy.random.Generator, size: Size) -> Image.Image:
    image = clouds(drawn, size, high=40)
    pen = ImageDraw.Draw(image)
    for x, y in drawn.random((60, 2)) * size:
        radius = int(drawn.integers(2, 12))
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour(drawn, 150, 255))
    things(drawn, image, 3)
    return image


def _fog(drawn: numpy.random.Generator, size: Size) -> Image.Image:
    """Little contrast, but sharp."""
    image = clouds(drawn, size, low=120, high=200)
    things(drawn, image, 8)
    return Image.blend(image, Image.new("RGB", size, (170, 175, 180)), 0.45)


def _texture(drawn: numpy.random.Generator, size: Size) -> Image.Image:
    image = clouds(drawn, size, low=60)
    pen = ImageDraw.Draw(image)
    for x, y in drawn.random((900, 2)) * size:
        length = int(drawn.integers(5, 30))
        pen.line((x, y, x + length, y + drawn.normal(0, 10)), fill=colour(drawn), width=2)
    return image


def _gradient(drawn: numpy.random.Generator, size: Size) -> Image.Image:
    """A soft backdrop with a thing in front of it."""
    image = Image.linear_gradient("L").resize(size)
    backdrop = Image.merge(
        "RGB", [image.point(lambda level, top=top: level * top // 255) for top in colour(drawn)]
    )
    things(drawn, backdrop, 5)
    return backdrop


KINDS: dict[str, Callable[[numpy.random.Generator, Size], Image.Image]] = {
    "photograph": _photograph,
    "portrait": _portrait,
    "on white": _on_white,
    "ink": _ink,
    "flat": _flat,
    "landscape": _landscape,
    "night": _night,
    "fog": _fog,
    "texture": _texture,
    "gradient": _gradient,
}
