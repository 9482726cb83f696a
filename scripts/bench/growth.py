"""Cost against size: python -m scripts.bench.growth [--most 10000] [--json] [--chart docs/img/growth.svg]

Seconds of the processor for 10, 100, 1,000 ... pictures of a training set, LoRAs, drawn pictures and
trainings of the history, and for up to 100,000 steps of a log; and with each of them what an open page costs
the server: its question each second, and its changes after a step of a training that runs. The exponent is
fitted through the three largest sizes: 1 is linear. What is above 1.1 is marked, and a tick of the page
above 0.1. Pictures and LoRAs are tiny: it is about our own work on each, not about decoding.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from scripts.bench.parts.growing_library import measure_drawn, measure_history, measure_log, measure_loras
from scripts.bench.parts.growing_set import measure_set
from scripts.bench.parts.growth_chart import Curve, drawn
from scripts.bench.parts.page_tick import PAGE

STEEP, FLAT = 1.1, 0.1
"""Exponents above these are worse than linear, and of a tick of the page worse than constant."""
LEAST = 0.001
"""Seconds below which a time says nothing about growth."""
FITTED = 3


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A thing to have more and more of: `measure(folder, size)` yields what was done and its seconds."""

    smallest: int
    largest: int
    measure: Callable[[Path, int], Iterator[tuple[str, float]]]

    def sizes(self, most: int) -> list[int]:
        powers = range(round(math.log10(self.smallest)), round(math.log10(self.largest)) + 1)
        found = [10**power for power in powers]
        return [size for size in found if size <= most] or found[:1]


SUBJECTS = {
    "pictures": Subject(smallest=10, largest=10_000, measure=measure_set),
    "LoRAs": Subject(smallest=10, largest=10_000, measure=measure_loras),
    "drawn pictures": Subject(smallest=10, largest=10_000, measure=measure_drawn),
    "trainings": Subject(smallest=10, largest=1000, measure=measure_history),
    "steps of a log": Subject(smallest=100, largest=100_000, measure=measure_log),
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--most", type=int, default=100_000, help="the largest number (default: all sizes)")
    parser.add_argument("--only", choices=SUBJECTS, action="append", help="measure this subject alone")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--chart", type=Path, help="write the curves as an SVG there")
    options = parser.parse_args(arguments)
    found = {name: measured(SUBJECTS[name], options.most) for name in options.only or SUBJECTS}
    if options.chart:
        options.chart.write_text(drawn(found), "utf-8")
    if options.json:
        print(json.dumps({name: [asdict(curve) for curve in curves] for name, curves in found.items()}))
        return 0
    for name, curves in found.items():
        sizes = [*curves[0].seconds]
        print(f"\n| {name} | {' | '.join(f'{size:,}' for size in sizes)} | exponent |")
        print(f"|{' --- |' * (len(sizes) + 2)}")
        for curve in curves:
            spent = " | ".join(f"{curve.seconds[size]:.4f}" for size in sizes)
            print(f"| {curve.what} | {spent} | {shown(curve)} |")
    return 0


def measured(subject: Subject, most: int) -> list[Curve]:
    """The curves of a subject, with their exponents."""
    seconds: dict[str, dict[int, float]] = {}
    for size in subject.sizes(most):
        with tempfile.TemporaryDirectory(prefix="growth-") as folder:
            for what, spent in subject.measure(Path(folder), size):
                seconds.setdefault(what, {})[size] = round(spent, 6)
    return [Curve(what=what, seconds=spent, exponent=exponent(spent)) for what, spent in seconds.items()]


def exponent(seconds: dict[int, float]) -> float | None:
    """The slope of the logarithms through the largest sizes; None where the times are too short."""
    points = [(math.log(size), math.log(spent)) for size, spent in sorted(seconds.items()) if spent >= LEAST]
    points = points[-FITTED:]
    if len(points) < 2 or max(seconds) not in {round(math.exp(x)) for x, _ in points}:
        return None
    middle = [sum(column) / len(points) for column in zip(*points, strict=True)]
    rise = sum((x - middle[0]) * (y - middle[1]) for x, y in points)
    return rise / sum((x - middle[0]) ** 2 for x, _ in points)


def shown(curve: Curve) -> str:
    """The exponent as text, marked where it is too large."""
    if curve.exponent is None:
        return ""
    limit = FLAT if curve.what.startswith(PAGE) else STEEP
    return f"{curve.exponent:.2f}{' STEEP' if curve.exponent > limit else ''}"


if __name__ == "__main__":
    sys.exit(main())
