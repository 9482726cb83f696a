"""Remarks on pictures that can be used, but not quite as they are: a sentence for each kind."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from lora_studio.data.buckets import Placement
from lora_studio.data.pixels.colour_profiles import Colours

NAMED = 3
MUCH_LARGER, MUCH_KEPT = 1.25, 0.7
TINY = 64
LONGEST = 4
"""Length / width of a picture at most to be trained on whole: buckets go from 256 to 1024."""


def named(files: Sequence[str], *, one: str = "picture", many: str = "pictures") -> str:
    """A count with a few names: `1 picture (a.png)`, `5 pictures (a.png, b.png, c.png and 2 more)`."""
    rest = f" and {len(files) - NAMED} more" if len(files) > NAMED else ""
    between = "; " if any(", " in file for file in files) else ", "
    return f"{len(files)} {one if len(files) == 1 else many} ({between.join(files[:NAMED])}{rest})"


def colour_remarks(pictures: Sequence[tuple[str, Colours]]) -> Iterator[str]:
    """Remarks on colour profiles. `pictures` are names with the treatment of their colours."""
    converted = [name for name, colours in pictures if colours == "converted"]
    unreadable = [name for name, colours in pictures if colours == "unreadable"]
    if converted:
        yield (
            f"{named(converted)} with a colour profile: the colours are converted to sRGB, which is what "
            "base models know."
        )
    if unreadable:
        yield f"{named(unreadable)} with a colour profile that can't be read: taken as sRGB."


def placement_remarks(pictures: Sequence[tuple[str, Placement]]) -> Iterator[str]:
    """Remarks on pictures that the training enlarges much, and on pictures that it cuts much off."""
    small, cut = [], []
    for name, placement in pictures:
        if not all(placement.original) or placement.note:
            continue
        size = " × ".join(map(str, placement.original))
        scale = min(new / old for new, old in zip(placement.resized, placement.original, strict=True))
        kept = math.prod(placement.bucket) / math.prod(placement.resized)
        if scale > MUCH_LARGER:
            small.append(f"{name}, {size}, {scale:.1f} times")
        if kept < MUCH_KEPT:
            cut.append(f"{name}, {size}, {1 - kept:.0%}")
    if small:
        yield f"{named(small)} enlarged to the training's size: what they show stays blurred."
    if cut:
        yield f"{named(cut)} cut off to fit: only the middle of such a picture is learned."


def length_remarks(lengths: Sequence[tuple[str, int]], read: int, hint: str) -> Iterator[str]:
    """A remark on captions of more tokens than the `read` ones. `lengths` are pictures with the tokens of
    their captions, `hint` says what to do."""
    longer = [(name, length) for name, length in lengths if length > read]
    if longer:
        name, most = max(longer, key=lambda pair: pair[1])
        counted = "1 caption is" if len(longer) == 1 else f"{len(longer)} captions are"
        yield (
            f"{counted} longer than the {read} tokens that are read; the rest is cut off, most of it from "
            f"{name}: {most - read} of {most}. {hint}"
        )


def shape_remarks(pictures: Sequence[tuple[str, tuple[int, int]]]) -> Iterator[str]:
    """Remarks on pictures that any base enlarges or cuts; `pictures` are names, widths, heights."""
    tiny = [f"{name}, {wide} × {high}" for name, (wide, high) in pictures if max(wide, high) < TINY]
    if tiny:
        yield f"{named(tiny)} tiny: training enlarges them, and they look blurred."
    odd = [
        f"{name}, {wide} × {high}, loses {1 - LONGEST * min(wide, high) / max(wide, high):.0%}"
        for name, (wide, high) in pictures
        if max(wide, high) > LONGEST * min(wide, high)
    ]
    if odd:
        yield (
            f"{named(odd)} much longer than wide: training takes their middle. Cut them into several "
            "pictures to use all."
        )
