"""Weights from brackets in A1111's notation. Standard library only: the page counts tokens by it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lora_studio.parsing.numbers import NUMBER

MARK = re.compile(rf"\\[()\[\]\\]?+|:({NUMBER})\)|[()\[\]]|[^\\()\[\]:]++|:")
FACTORS = {"(": 1.1, "[": 1 / 1.1}
OPENINGS = {")": "(", "]": "["}
DEEPEST = 32
"""Nested brackets that count; each further one would go over the whole text again."""


def read_weights(caption: str) -> list[tuple[str, float]]:
    """Pieces of a text with their weights, in A1111's notation: (x) is 1.1, (x:1.3) is 1.3, [x] is 1 / 1.1;
    brackets may be nested; a backslash makes a bracket an ordinary character."""
    pieces: list[str] = []
    weights: list[float] = []
    opened: dict[str, list[int]] = {"(": [], "[": []}

    def close(bracket: str, factor: float) -> None:
        deep = len(opened[bracket]) > DEEPEST
        start = opened[bracket].pop()
        for place in range(len(weights) if deep else start, len(weights)):
            weights[place] *= factor

    for match in MARK.finditer(caption):
        mark = match[0]
        bracket = "(" if match[1] else OPENINGS.get(mark, "")
        if mark in opened:
            opened[mark].append(len(pieces))
        elif bracket and opened[bracket]:
            close(bracket, float(match[1]) if match[1] else FACTORS[bracket])
        else:
            pieces.append(mark.removeprefix("\\"))
            weights.append(1.0)
    for bracket, starts in opened.items():
        while starts:
            close(bracket, FACTORS[bracket])
    return _merged(pieces, weights) or [("", 1.0)]


def _merged(pieces: Sequence[str], weights: Sequence[float]) -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for piece, weight in zip(pieces, weights, strict=True):
        if found and found[-1][1] == weight:
            found[-1] = (found[-1][0] + piece, weight)
        else:
            found.append((piece, weight))
    return found
