"""Two trainings side by side as HTML: pure functions from their figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lora_studio.events import PreviewSaved
from lora_studio.formatting import duration, moment, short, size
from lora_studio.jobs.comparison.run_comparison import Curve, RunComparison, RunFigures
from lora_studio.ui.widgets.curves import polyline, smoothed, value_range
from lora_studio.ui.widgets.html_templates import fill
from lora_studio.ui.widgets.setting_labels import LABELS

SIDES = ("A", "B")
ROUNDS_SHOWN, TABLE_ROWS = 6, 10
NO_VALUE = "–"


@dataclass(frozen=True, kw_only=True)
class ComparedPictures:
    """Previews of one prompt, one of each training; None where there is none. `captions` are the prompts,
    one where both have the same."""

    pictures: tuple[PreviewSaved | None, PreviewSaved | None]
    captions: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ComparedRound:
    """Previews of one step, or the last of each training where they have no step in common."""

    steps: tuple[int, int]
    pairs: tuple[ComparedPictures, ...]


def compared(comparison: RunComparison) -> str:
    """HTML of the whole comparison."""
    runs = comparison.runs
    charts = [
        chart("Loss", [run.losses for run in runs], smooth=True),
        chart("Loss on the pictures held back", [run.validation for run in runs]),
        chart("Learning rate", [run.learning_rates for run in runs], show="{:.2g}".format),
    ]
    return fill(
        "comparison",
        sides=list(zip(SIDES, runs, map(facts_of, runs), strict=True)),
        rows=[
            {
                "label": LABELS.get(pair.name, pair.name),
                "name": pair.name,
                "values": list(map(shown_value, pair.values)),
            }
            for pair in comparison.differences
        ],
        same=comparison.same,
        charts=[one for one in charts if one],
        table=table_of(runs),
        rounds=rounds_of(runs)[:ROUNDS_SHOWN],
    )


def facts_of(run: RunFigures) -> list[tuple[str, str]]:
    """(name, value) of a training's figures, as far as there are any."""
    job, best = run.job, run.best_validation
    last = smoothed([loss for _, loss in run.losses])[-1:]
    facts = {
        "begun": moment(job.started_at or job.created_at),
        "steps": f"{job.step} of {job.total_steps}",
        "time": duration(run.seconds) if run.seconds >= 1 else "",
        "a step": f"{short(run.seconds_per_step)} s" if run.seconds_per_step else "",
        "memory": size(run.memory_bytes) if run.memory_bytes else "",
        "device": run.device,
        "loss": short(last[0]) if last else "",
        "held back, best": f"{short(best[1])} at step {best[0]}" if best else "",
    }
    return [(name, value) for name, value in facts.items() if value]


def chart(
    title: str, curves: Sequence[Curve], *, smooth: bool = False, show: Callable[[float], str] = short
) -> dict[str, Any]:
    """Facts for a chart of both trainings' curves; empty without two points. `show` writes a value."""
    if all(len(curve) < 2 for curve in curves):
        return {}
    lines = [_smoothed(curve) if smooth else curve for curve in curves]
    every = [value for line in lines for _, value in line]
    low, high = value_range(every, every)
    low = max(low, min(0.0, *every))  # the range of a straight line goes below what it shows
    right = max(step for line in lines for step, _ in line)
    draw = partial(polyline, right=max(1, right), low=low, high=high)
    return {
        "title": title,
        "lines": [draw(line) for line in lines],
        "ends": [(show(line[0][1]), show(line[-1][1])) if line else None for line in lines],
        "low": show(low),
        "high": show(high),
        "right": right,
    }


def table_of(runs: Sequence[RunFigures]) -> list[tuple[int, list[str]]]:
    """The losses of both trainings at some steps, for those who don't see the chart: (step, values)."""
    lines = [_smoothed(run.losses) for run in runs]
    steps = sorted({step for line in lines for step, _ in line})
    chosen = steps[:: max(1, -(-len(steps) // TABLE_ROWS))]
    chosen = chosen if not steps or chosen[-1] == steps[-1] else [*chosen, steps[-1]]
    return [(step, [_value_at(line, step) for line in lines]) for step in chosen]


def rounds_of(runs: Sequence[RunFigures]) -> list[ComparedRound]:
    """Previews of the steps that both trainings have, the last one first; of the last step of each, where
    there is none or where the last ones are others."""
    first, second = (
        {step: _at(run, step) for step in {event.step for event in run.previews}} for run in runs
    )
    if not first or not second:
        return []
    common = sorted(first.keys() & second.keys(), reverse=True)
    last = max(first), max(second)
    pairs = [(step, step) for step in common]
    pairs = pairs if last in pairs else [last, *pairs]
    return [ComparedRound(steps=pair, pairs=_side_by_side(first[pair[0]], second[pair[1]])) for pair in pairs]


def shown_value(value: Any) -> str:
    """A setting's value as people read it."""
    match value:
        case None | "" | [] | ():
            return NO_VALUE
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
        case list() | tuple():
            return ", ".join(map(shown_value, value))
    return str(value)


def _side_by_side(
    first: Sequence[PreviewSaved], second: Sequence[PreviewSaved]
) -> tuple[ComparedPictures, ...]:
    pairs = []
    for at in range(max(len(first), len(second))):
        pictures = tuple(one[at] if at < len(one) else None for one in (first, second))
        captions = tuple(dict.fromkeys(picture.prompt for picture in pictures if picture))
        pairs.append(ComparedPictures(pictures=(pictures[0], pictures[1]), captions=captions))
    return tuple(pairs)


def _at(run: RunFigures, step: int) -> list[PreviewSaved]:
    """The previews of a step whose files are there, each prompt's last one."""
    there = [event for event in run.previews if event.step == step and Path(event.path).is_file()]
    return list({event.path: event for event in there}.values())


def _smoothed(curve: Curve) -> Curve:
    means = smoothed([value for _, value in curve])
    return tuple((step, mean) for (step, _), mean in zip(curve, means, strict=True))


def _value_at(line: Curve, step: int) -> str:
    """The value of the last point up to a step, if the line reaches it."""
    before = [value for at, value in line if at <= step]
    return short(before[-1]) if before and line[-1][0] >= step else NO_VALUE
