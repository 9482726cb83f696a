"""Sanitizing of one uploaded picture: checked by its content, not its name, and decoded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from lora_studio.data.pixels.decoding import Plain, decode, opened
from lora_studio.errors import DatasetError

MOST_PIXELS = 40_000_000
LEAST_SIDE = 32
FREE_PIXELS = 200_000_000
PIXELS_A_BYTE = 60
"""Pixels a byte at most: even drawings have fewer; photographs have about 4, and a bomb a thousand."""


@dataclass(kw_only=True)
class PixelBudget:
    """A limit on the pixels of all pictures of an upload, which grows with the bytes sent for them."""

    pixels: int = 0
    content: int = 0

    def take(self, file: str, size: tuple[int, int], content: int) -> None:
        """Count a picture of `content` bytes. Raises DatasetError when it exceeds the budget."""
        pixels = size[0] * size[1]
        if self.pixels + pixels > FREE_PIXELS + PIXELS_A_BYTE * (self.content + content):
            raise DatasetError(
                f"{file} was left out: the pictures have more pixels than such small files should hold.",
                "Send fewer at a time, or scale them down.",
                path=file,
            )
        self.pixels += pixels
        self.content += content


@contextmanager
def cleaned_picture(
    file: str, content: bytes, *, colours: bool = True, budget: PixelBudget | None = None
) -> Iterator[Plain]:
    """Check and decode a picture; `file` is its name for people. Its size is checked, and counted on the
    budget, before it is decoded, and a large one has its turn inside the block. `colours` as for `decode`.
    Raises DatasetError with the reason in one sentence."""
    if not content:
        raise DatasetError(f"{file} is empty.", path=file)
    with opened(file, content, most_pixels=MOST_PIXELS) as image:
        width, height = image.size
        if min(width, height) < LEAST_SIDE:
            raise DatasetError(
                f"{file} is too small, {width} × {height}: each side needs {LEAST_SIDE} pixels.", path=file
            )
        if budget:
            budget.take(file, image.size, len(content))
        yield decode(file, image, colours=colours)
