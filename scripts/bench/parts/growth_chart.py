"""Curves of cost against size as an SVG: a panel for each subject, both axes logarithmic."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

COLOURS = ("#1b6ca8", "#c0392b", "#2e8b57", "#8e44ad", "#b9770e", "#16808a", "#7f4a1f", "#5d6d7e", "#c2185b")
WIDTH, HEIGHT, LEFT, TOP, PLOT, TALL = 940, 250, 70, 40, 430, 170
"""Pixels: of the picture, of a panel, beside and above its plot, and of the plot."""
LINE = 15
SHORTEST, LONGEST = 1e-5, 100.0
"""Seconds at the ends of the vertical axis."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Seconds by size, and the exponent between them; None where the times are too short to tell."""

    what: str
    seconds: dict[int, float]
    exponent: float | None


def drawn(found: Mapping[str, Sequence[Curve]]) -> str:
    """The SVG of all subjects."""
    panels = [panel(name, curves, HEIGHT * number) for number, (name, curves) in enumerate(found.items())]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT * len(panels)}"'
            ' font-family="sans-serif" font-size="12">',
            '<rect width="100%" height="100%" fill="white"/>',
            *panels,
            "</svg>\n",
        ]
    )


def panel(name: str, curves: Sequence[Curve], top: float) -> str:
    """A subject: its axes, its curves, and their names with exponents beside them."""
    sizes = sorted(curves[0].seconds)
    parts = [
        f'<g transform="translate({LEFT} {top + TOP})">',
        f'<text x="0" y="-14" font-size="15" font-weight="bold">{escape(name)}</text>',
        *_axes(sizes),
    ]
    ends = {curve.what: _height(curve.seconds[sizes[-1]]) for curve in curves}
    places = apart(ends)
    for curve, colour in zip(curves, COLOURS * 2, strict=False):
        points = " ".join(f"{_across(size, sizes):.0f},{_height(curve.seconds[size]):.1f}" for size in sizes)
        end, place = ends[curve.what], places[curve.what]
        label = escape(curve.what) + ("" if curve.exponent is None else f" · {curve.exponent:.2f}")
        parts += [
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>',
            f'<path d="M{PLOT + 3} {end:.1f}L{PLOT + 26} {place:.1f}" stroke="{colour}" stroke-width=".6"/>',
            f'<text x="{PLOT + 30}" y="{place + 4:.1f}" fill="{colour}">{label}</text>',
        ]
    return "\n".join([*parts, "</g>"])


def apart(heights: Mapping[str, float]) -> dict[str, float]:
    """The heights of texts that would stand at these, moved until none covers another one."""
    found: dict[str, float] = {}
    last = -TOP
    for what, height in sorted(heights.items(), key=lambda item: item[1]):
        last = found[what] = max(height, last + LINE)
    over = max(0.0, last - TALL - LINE)
    return {what: height - over for what, height in found.items()}


def _axes(sizes: Sequence[int]) -> list[str]:
    parts = [f'<rect width="{PLOT}" height="{TALL}" fill="none" stroke="#999"/>']
    for power in range(round(math.log10(SHORTEST)), round(math.log10(LONGEST)) + 1):
        y = _height(10.0**power)
        parts.append(f'<path d="M0 {y:.1f}H{PLOT}" stroke="#e3e3e3"/>')
        if power % 2:
            parts.append(f'<text x="-6" y="{y + 4:.1f}" text-anchor="end">{_duration(power)}</text>')
    for size in sizes:
        x = _across(size, sizes)
        parts.append(f'<text x="{x:.0f}" y="{TALL + 16}" text-anchor="middle">{size:,}</text>')
    return parts


def _duration(power: int) -> str:
    number, unit = (power, "s") if power >= 0 else (power + 3, "ms") if power >= -3 else (power + 6, "µs")
    return f"{10**number} {unit}"


def _across(size: int, sizes: Sequence[int]) -> float:
    return PLOT * math.log(size / sizes[0]) / (math.log(sizes[-1] / sizes[0]) or 1.0)


def _height(seconds: float) -> float:
    kept = min(LONGEST, max(SHORTEST, seconds))
    return TALL * math.log(LONGEST / kept) / math.log(LONGEST / SHORTEST)
