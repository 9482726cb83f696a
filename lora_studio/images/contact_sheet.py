"""The labelled sheet of a grid, drawn with Pillow and its own font."""

from __future__ import annotations

import math
import unicodedata
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

GAP = 8
INK, EMPTY, PAPER = "#1b1f2a", "#e9ebf1", "#ffffff"
LEAST_CELL = 128
"""Pixels; smaller pictures are enlarged to it, so that there is room for words."""
MOST_SIDE = 8192
MOST_PIXELS = 40_000_000
LETTERS = 13
"""Pixels; the font of small pictures."""
LINE = 1.3
MOST_LINES = 6
FONTS = (
    *("NotoSansCJK-Regular.ttc", "NotoSans-Regular.ttf", "DejaVuSans.ttf", "LiberationSans-Regular.ttf"),
    *("Arial Unicode.ttf", "Arial.ttf", "arial.ttf", "segoeui.ttf"),
)
"""Files that Linux, macOS and Windows have, those with most alphabets first."""
Labels = tuple[Sequence[str], Sequence[str], Sequence[str]]


@dataclass(frozen=True, kw_only=True)
class Label:
    """Lines that fit the width, and their height in pixels."""

    lines: tuple[str, ...]
    height: int


def draw_sheet(pictures: Sequence[Image | None], labels: Labels, *, letters: int = LETTERS) -> Image:
    """The sheet of `pictures` with X fastest, then Y, then Z; None leaves a pale field. `labels` are those of
    X above the columns, of Y beside the rows, and of Z above each grid. All cells have the size of the
    largest picture, or less where the sheet would get too large. `letters` is the least size of the font in
    pixels: larger for sheets that are shown small."""
    from PIL import Image as images
    from PIL import ImageDraw

    columns, rows, sheets = (len(axis) for axis in labels)
    width, height = cell_size([picture.size for picture in pictures if picture], columns, rows * sheets)
    font, labels = _lettering(max(letters, min(width // 14, 40)), labels)
    above = [_wrapped(text, font, width - GAP) for text in labels[0]]
    beside = [_wrapped(text, font, max(width * 2 // 3, 96)) for text in labels[1]]
    titles = [_wrapped(text, font, columns * (width + GAP)) for text in labels[2]]
    left = GAP + (max(_widths(beside, font), default=0) + GAP * 2 if any(labels[1]) else 0)
    top = max(label.height for label in above)
    block = rows * (height + GAP) + (top + GAP if top else 0)
    heads = [label.height + GAP * 2 if label.height else 0 for label in titles]
    size = (left + columns * (width + GAP), GAP + sheets * block + sum(heads))
    sheet = images.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(sheet)
    y = GAP
    for number, title in enumerate(titles):
        _write(pen, title, (GAP * 2, y + GAP), font, centered=False)
        y += heads[number]
        for column, label in enumerate(above):
            _write(pen, label, (left + column * (width + GAP) + width // 2, y), font)
        y += top + GAP if top else 0
        for row, label in enumerate(beside):
            _write(pen, label, (GAP * 2, y + (height - label.height) // 2), font, centered=False)
            for column in range(columns):
                place = (number * rows + row) * columns + column
                _place(sheet, pen, pictures[place], (left + column * (width + GAP), y, width, height))
            y += height + GAP
    return sheet


def cell_size(sizes: Sequence[tuple[int, int]], columns: int, rows: int) -> tuple[int, int]:
    """Width and height of a field for pictures of these sizes, in pixels."""
    width = max((size[0] for size in sizes), default=LEAST_CELL)
    height = max((size[1] for size in sizes), default=LEAST_CELL)
    up = max(1.0, LEAST_CELL / max(width, height))
    pixels = columns * rows * width * height
    sides = min(MOST_SIDE / (columns * width), MOST_SIDE / (rows * height))
    room = min(sides, math.sqrt(MOST_PIXELS / pixels))
    scale = min(up, room)
    return max(24, round(width * scale)), max(24, round(height * scale))


def _place(sheet: Image, pen: Any, picture: Image | None, box: tuple[int, int, int, int]) -> None:
    """Draw a picture whole in the middle of its field, its pixels unscaled where they fit."""
    from PIL import Image as images

    left, top, width, height = box
    pen.rectangle((left, top, left + width - 1, top + height - 1), fill=EMPTY)
    if picture is None:
        return
    scale = min(width / picture.width, height / picture.height)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    shown = picture.convert("RGB")
    if size != picture.size:
        shown = shown.resize(size, images.Resampling.LANCZOS)
    sheet.paste(shown, (left + (width - size[0]) // 2, top + (height - size[1]) // 2))


def _write(pen: Any, label: Label, at: tuple[int, int], font: Any, *, centered: bool = True) -> None:
    x, y = at
    for line in label.lines:
        pen.text((x, y), line, fill=INK, font=font, anchor="ma" if centered else "la")
        y += round(font.size * LINE)


def _wrapped(text: str, font: Any, width: int) -> Label:
    """Text broken between words, or inside those wider than `width` pixels; a long one's end is cut."""
    if not text:
        return Label(lines=(), height=0)
    lines: list[str] = [""]
    for word in text.split():
        joined = f"{lines[-1]} {word}".strip()
        if font.getlength(joined) <= width:
            lines[-1] = joined
            continue
        lines += [word] if lines[-1] else []
        lines[-1] = word
        while font.getlength(lines[-1]) > width and len(lines[-1]) > 1:
            kept = _fitting(lines[-1], font, width)
            lines[-1:] = [lines[-1][:kept], lines[-1][kept:]]
            if len(lines) > MOST_LINES:
                break
        if len(lines) > MOST_LINES:
            break
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES - 1], f"{lines[MOST_LINES - 1].rstrip('.')}..."]
    return Label(lines=tuple(lines), height=round(len(lines) * font.size * LINE))


def _fitting(word: str, font: Any, width: int) -> int:
    """The number of letters of the word that fit; at least one."""
    return max(1, bisect_right(range(1, len(word)), width, key=lambda n: font.getlength(word[:n])))


def _widths(labels: Sequence[Label], font: Any) -> list[int]:
    return [math.ceil(max(map(font.getlength, label.lines), default=0)) for label in labels]


def _lettering(size: int, labels: Labels) -> tuple[Any, Labels]:
    """A font, and the labels as it can write them. Pillow's own font has ASCII; for other letters one of the
    system's is taken, and where there is none they are written in the nearest of ASCII."""
    from PIL import ImageFont

    if not all(text.isascii() for axis in labels for text in axis):
        for name in FONTS:
            try:
                return ImageFont.truetype(name, size), labels
            except OSError:
                continue
        x, y, z = ([_in_ascii(text) for text in axis] for axis in labels)
        labels = (x, y, z)
    return ImageFont.load_default(size), labels


def _in_ascii(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text.replace("ß", "ss"))
    kept = (letter for letter in plain if not unicodedata.combining(letter))
    return "".join(letter if letter.isascii() else "?" for letter in kept)
