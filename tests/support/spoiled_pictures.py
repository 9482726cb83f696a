"""A folder of pictures with known faults, each file labelled with the checks that have to find it.

`good` are pictures that no check may complain about; what is beside the point of a fault, as that a thumbnail
is too small, too, stands in `also`.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy
from PIL import Image, ImageDraw, ImageFilter

from tests.support.drawn_scenes import scene, things
from tests.support.wide_colours import WIDE

TRIGGER = "zwx"
THINGS = ("lamp", "bridge", "kettle", "harbour", "ladder", "orchard", "violin", "tower", "market", "canoe")
PLACES = ("rain", "snow", "sunlight", "shade", "autumn", "twilight", "wind", "spring", "noon", "dusk", "fog")


@dataclass(kw_only=True)
class Labels:
    """What the checks have to say of a folder's files by name: `faults` must be found, `also` may be."""

    folder: Path
    good: list[str] = field(default_factory=list)
    faults: dict[str, str] = field(default_factory=dict)
    also: dict[str, set[str]] = field(default_factory=dict)

    def add(
        self, name: str, content: bytes, fault: str = "", *also: str, caption: bytes | None = None
    ) -> None:
        (self.folder / name).write_bytes(content)
        number = len(self.good) + len(self.faults)
        text = caption_for(number).encode() if caption is None else caption
        if text:
            (self.folder / name).with_suffix(".txt").write_bytes(text)
        if fault:
            self.faults[name], self.also[name] = fault, set(also)
        else:
            self.good.append(name)


def caption_for(number: int) -> str:
    """A caption like no other of the first hundred, with the trigger word."""
    rest, place = divmod(number, len(PLACES))
    return f"{TRIGGER} {THINGS[rest % len(THINGS)]} {number} in {PLACES[place]}"


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    options = {"quality": 88, **options} if kind == "JPEG" else {"compress_level": 1, **options}
    image.save(buffer, kind, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def write_good(labels: Labels, count: int) -> None:
    """Drawn scenes, half of them as JPEG."""
    for number in range(count):
        kind = ("JPEG", "PNG")[number % 2]
        labels.add(f"good-{number:03}.{kind.lower()}", encoded(scene(1000 + number), kind))


def write_spoiled(labels: Labels, each: int) -> None:
    """Each fault of a picture or its caption `each` times."""
    for fault, spoil in SPOILED.items():
        for number in range(each):
            seed = 5000 + 37 * len(labels.faults)
            spoil(labels, f"{fault}-{number:02}", seed, number)
            assert fault in labels.faults.values()


def _unreadable(labels: Labels, name: str, seed: int, number: int) -> None:
    content = encoded(scene(seed))
    labels.add(f"{name}.jpg", content[: len(content) // 3] if number % 2 else b"no picture", "unreadable")


def _blurred(labels: Labels, name: str, seed: int, number: int) -> None:
    image = scene(seed, (768, 768))
    if number % 3 == 0:
        image = image.filter(ImageFilter.GaussianBlur(3 + number))
    elif number % 3 == 1:  # enlarged from a small one
        image = image.resize((150, 150)).resize((768, 768), Image.Resampling.BICUBIC)
    else:  # out of focus: a disc
        image = image.filter(ImageFilter.BoxBlur(5))
    labels.add(f"{name}.jpg", encoded(image), "blurred", "near_copy")


def _too_small(labels: Labels, name: str, seed: int, number: int) -> None:
    side = (200, 260, 330, 390)[number % 4]
    labels.add(f"{name}.png", encoded(scene(seed, (side, side)), "PNG"), "too_small")


def _extreme(labels: Labels, name: str, seed: int, number: int) -> None:
    size = ((3600, 500), (480, 3600), (4000, 400))[number % 3]
    labels.add(f"{name}.jpg", encoded(scene(seed, size)), "extreme_aspect", "cut_detail")


def _cut(labels: Labels, name: str, seed: int, number: int) -> None:
    """All that is to be seen is at one end of a long picture."""
    drawn = numpy.random.default_rng(seed)
    image = Image.new("RGB", (2400, 400), tuple(int(level) for level in drawn.integers(80, 200, 3)))
    things(drawn, image, 12, where=0.06 if number % 2 else 0.94)
    labels.add(f"{name}.jpg", encoded(image), "cut_detail", "extreme_aspect", "near_copy")


def _borders(labels: Labels, name: str, seed: int, number: int) -> None:
    colour = ("black", "white", "#203040", "black")[number % 4]
    sides = ((0, 90), (110, 0), (40, 40), (0, 30))[number % 4]
    inner = scene(seed + _busy(seed), (768, 640))
    image = Image.new("RGB", (768 + 2 * sides[0], 640 + 2 * sides[1]), colour)
    image.paste(inner, sides)
    labels.add(f"{name}.jpg", encoded(image), "borders")


def _busy(seed: int) -> int:
    """What leads from a seed to the next one of a photograph, whose edge is no paper."""
    return -seed % 10


def _transparent(labels: Labels, name: str, seed: int, number: int) -> None:
    image = scene(seed).convert("RGBA")
    mask = Image.new("L", image.size, 0)
    edge = 40 * (1 + number % 3)
    ImageDraw.Draw(mask).ellipse((edge, edge, image.width - edge, image.height - edge), fill=255)
    image.putalpha(mask)
    labels.add(f"{name}.png", encoded(image, "PNG"), "transparent", "blurred")


def _profile(labels: Labels, name: str, seed: int, number: int) -> None:
    labels.add(f"{name}.jpg", encoded(scene(seed), icc_profile=WIDE), "colour_profile")


def _turned(labels: Labels, name: str, seed: int, number: int) -> None:
    exif = Image.Exif()
    exif[0x112] = (6, 3, 8)[number % 3]
    labels.add(f"{name}.jpg", encoded(scene(seed), exif=exif), "turned")


def _thumbnail(labels: Labels, name: str, seed: int, number: int) -> None:
    called = ("{}_thumb.jpg", "thumb-{}.jpg", "{}-150x150.jpg", "preview {}.jpg")[number % 4]
    content = encoded(scene(seed, (150, 150)))
    labels.add(called.format(name.removeprefix("thumbnail-")), content, "thumbnail", "too_small")


def _mask(labels: Labels, name: str, seed: int, number: int) -> None:
    image = Image.new("L", (768, 768), 0 if number % 2 else 255)
    pen, drawn = ImageDraw.Draw(image), numpy.random.default_rng(seed)
    for x, y in drawn.integers(200, 560, (4, 2)):
        pen.ellipse((x - 120, y - 90, x + 120, y + 90), fill=255 if number % 2 else 0)
    labels.add(f"{name}.png", encoded(image, "PNG"), "mask", "near_copy")


def _exact(labels: Labels, name: str, seed: int, number: int) -> None:
    image = scene(seed)
    first = encoded(image, "PNG")
    caption = caption_for(200 + seed % 97).encode()
    labels.add(f"{name}-first.png", first, caption=caption)
    labels.also[f"{name}-first.png"] = {"exact_copy"}
    again = first if number % 2 else encoded(image, "BMP")
    labels.add(f"{name}.{'png' if number % 2 else 'bmp'}", again, "exact_copy", caption=caption)


def _near(labels: Labels, name: str, seed: int, number: int) -> None:
    image = scene(seed)
    caption = caption_for(300 + seed % 97).encode()
    labels.add(f"{name}-first.png", encoded(image, "PNG"), caption=caption)
    labels.also[f"{name}-first.png"] = {"near_copy"}
    wide, high = image.size
    copies: list[Callable[[], bytes]] = [
        lambda: encoded(image, quality=35),
        lambda: encoded(image.resize((wide * 3 // 4, high * 3 // 4))),
        lambda: encoded(image.crop((wide // 50, high // 50, wide - wide // 50, high - high // 50))),
        lambda: encoded(image.point(lambda level: min(255, int(level * 1.12)))),
    ]
    labels.add(f"{name}.jpg", copies[number % 4](), "near_copy", caption=caption)


def _contradiction(labels: Labels, name: str, seed: int, number: int) -> None:
    image = scene(seed)
    labels.add(f"{name}-first.png", encoded(image, "PNG"), caption=b"zwx ladder, green leaves")
    labels.also[f"{name}-first.png"] = {"exact_copy", "near_copy", "contradiction"}
    again = encoded(image, "PNG") if number % 2 else encoded(image, quality=60)
    text = b"zwx violin under blue curtains"
    labels.add(f"{name}.png", again, "contradiction", "exact_copy", "near_copy", caption=text)


def _of_caption(fault: str, texts: list[bytes], *also: str) -> Callable[[Labels, str, int, int], None]:
    def spoil(labels: Labels, name: str, seed: int, number: int) -> None:
        text = texts[number % len(texts)]
        labels.add(f"{name}.jpg", encoded(scene(seed)), fault, *also, caption=text)

    return spoil


LONG = ", ".join(f"detail number {number}" for number in range(60))
SPOILED: dict[str, Callable[[Labels, str, int, int], None]] = {
    "unreadable": _unreadable,
    "blurred": _blurred,
    "too_small": _too_small,
    "extreme_aspect": _extreme,
    "cut_detail": _cut,
    "borders": _borders,
    "transparent": _transparent,
    "colour_profile": _profile,
    "turned": _turned,
    "thumbnail": _thumbnail,
    "mask": _mask,
    "exact_copy": _exact,
    "near_copy": _near,
    "contradiction": _contradiction,
    "no_caption": _of_caption("no_caption", [b"", b" \r\n"]),
    "encoding": _of_caption(
        "encoding",
        [
            "zwx rot café".encode("cp1252"),
            "zwx オレンジの木".encode("cp932"),
            "zwx красный дом".encode("cp1251"),
            b"zwx \x00\x01\x02",
        ],
        "no_trigger",
    ),
    "no_trigger": _of_caption("no_trigger", [b"a ladder in the rain", b"zwxy tower, snow"]),
    "beyond_window": _of_caption("beyond_window", [f"zwx kettle, {LONG}".encode()]),
    "several_lines": _of_caption(
        "several_lines", [b"zwx market, shade\nmany people\n", b"zwx canoe\r\nwind"]
    ),
}
