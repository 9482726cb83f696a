"""Labelled sheets of pictures, to compare by eye."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont, ImageFont

GAP, LABEL_WIDTH, TITLE_HEIGHT, CAPTION_HEIGHT = 8, 132, 44, 38
INK, PALE, PAPER = "#1b1f2a", "#5b6275", "#ffffff"


@dataclass(frozen=True, kw_only=True)
class SheetRow:
    """Pictures side by side; `captions`, where given, stand below them."""

    label: str
    images: Sequence[Image]
    captions: Sequence[str] = ()


def draw_sheet(title: str, rows: Sequence[SheetRow], *, cell: int = 128) -> Image:
    """Rows of pictures, each scaled into a square of `cell` pixels, a title above and labels at the left."""
    from PIL import Image, ImageDraw

    columns = max(len(row.images) for row in rows)
    heights = [cell + GAP + (CAPTION_HEIGHT if row.captions else 0) for row in rows]
    size = (LABEL_WIDTH + columns * (cell + GAP) + GAP, TITLE_HEIGHT + sum(heights) + GAP)
    sheet = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((GAP * 2, 12), title, fill=INK, font=_font(18))
    top = TITLE_HEIGHT
    for row, height in zip(rows, heights, strict=True):
        label = textwrap.fill(row.label, 16)
        pen.multiline_text((GAP * 2, top + cell // 2), label, fill=INK, font=_font(14), anchor="lm")
        for column, image in enumerate(row.images):
            left = LABEL_WIDTH + column * (cell + GAP)
            sheet.paste(_fitted(image, cell), (left, top))
            if column < len(row.captions):
                words = "\n".join(textwrap.wrap(row.captions[column], cell // 6)[:2])
                pen.multiline_text((left, top + cell + 4), words, fill=PALE, font=_font(11), spacing=2)
        top += height
    return sheet


def _fitted(image: Image, cell: int) -> Image:
    """The picture in the middle of a pale square, whole."""
    from PIL import Image as images

    scale = cell / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    square = images.new("RGB", (cell, cell), "#f1f2f6")
    small = image.convert("RGB").resize(size, images.Resampling.LANCZOS)
    square.paste(small, ((cell - size[0]) // 2, (cell - size[1]) // 2))
    return square


def _font(size: int) -> FreeTypeFont | ImageFont:
    from PIL import ImageFont

    return ImageFont.load_default(size)
