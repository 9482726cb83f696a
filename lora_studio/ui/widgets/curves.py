"""Curves of a training as lines of an SVG, whose numbers stand in the HTML around it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

WIDTH, HEIGHT = 600.0, 160.0
SMOOTHED_OVER = 12
"""Share, 1/12 of the points, whose mean is one point of the smooth line."""


def polyline(points: Iterable[tuple[int, float]], right: int, low: float, high: float) -> str:
    """The points of a polyline in a box of WIDTH x HEIGHT that ends with the step `right`; values outside
    `low` and `high` lie on its edge."""
    return " ".join(
        f"{WIDTH * step / right:.1f},{HEIGHT * (1 - (min(max(v, low), high) - low) / (high - low)):.1f}"
        for step, v in points
    )


def smoothed(values: Sequence[float]) -> list[float]:
    """The moving mean of a curve, over a twelfth of it."""
    return moving_mean(values, max(3, len(values) // SMOOTHED_OVER))


def moving_mean(values: Sequence[float], window: int) -> list[float]:
    """The mean of each value with up to `window - 1` values before it."""
    means: list[float] = []
    total = 0.0
    for index, value in enumerate(values):
        total += value - (values[index - window] if index >= window else 0.0)
        means.append(total / min(index + 1, window))
    return means


def value_range(raw: Sequence[float], smooth: Sequence[float]) -> tuple[float, float]:
    """The least and the greatest value, of `raw` without the worst 2 %, so that one spike can't flatten the
    rest; around a straight line from 0 to twice its value."""
    ordered = sorted(raw)
    cut = len(ordered) // 50
    low = min(ordered[cut], *smooth)
    high = max(ordered[len(ordered) - 1 - cut], *smooth)
    if high - low > 1e-6 * abs(high):
        return low, high
    around = abs(high) or 0.5e-3  # a straight line in the middle
    return low - around, high + around
