"""The curves of a training: loss with the losses on pictures held back, learning rate, memory; and the same
as a table."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from lora_studio.events import Validated
from lora_studio.formatting import short, size
from lora_studio.store.job_lists import CurvePoint
from lora_studio.ui.widgets.html_templates import fill

CHART_JS = Path(__file__).with_name("training_chart.js").read_text("utf-8")
POINTS = 200
ROWS = 10
"""Rows of the table, beside those of the measurements on pictures held back."""
WIDTH, HEIGHT = 600.0, 160.0
SMOOTHED_OVER = 12
"""Share, 1/12 of the points, whose mean is one point of the smooth line."""


def chart_mark(job_id: str, step: int, total_steps: int) -> list[Any]:
    """Facts that change as often as the curves do: each point stands for several steps of a long training."""
    return [job_id, step // max(1, -(-total_steps // POINTS))]


def curves(points: Sequence[CurvePoint], total_steps: int, validated: Sequence[Validated]) -> str:
    """HTML of all curves of a training; empty for fewer than two points."""
    losses = [(point.step, point.loss) for point in points]
    if len(losses) < 2:
        return ""
    right = max(total_steps, points[-1].step)
    rates = [(point.step, point.learning_rate) for point in points if point.learning_rate is not None]
    memory = [(point.step, float(point.memory_bytes)) for point in points if point.memory_bytes]
    smalls = [
        _small("Learning rate", rates, right, short),
        _small("Memory", memory, right, lambda value: size(round(value))),
    ]
    return fill(
        "curves",
        **_loss_facts(losses, right, validated),
        charts=[one for one in smalls if one],
        rows=_rows(points, validated),
    )


def _small(
    title: str, points: Sequence[tuple[int, float]], right: int, show: Callable[[float], str]
) -> dict[str, Any]:
    """A curve for the template; empty for fewer than two points. Its lower end is 0."""
    if len(points) < 2:
        return {}
    high = max(value for _, value in points) or 1.0
    return {
        "title": title,
        "points": _line(points, right, 0.0, high),
        "high": show(high),
        "first": show(points[0][1]),
        "last": show(points[-1][1]),
    }


def _rows(points: Sequence[CurvePoint], validated: Sequence[Validated]) -> list[list[str]]:
    """Step, mean loss, loss on pictures held back, learning rate and memory as text, by step."""
    smooth = moving_mean([point.loss for point in points], _window(len(points)))
    every = max(1, len(points) // ROWS)
    places = {*range(len(points) - 1, -1, -every)}
    held_out = {event.step: event.loss for event in validated}
    found: dict[int, list[str]] = {step: [str(step), "", "", "", ""] for step in held_out}
    for place in places:
        point = points[place]
        rate = "" if point.learning_rate is None else short(point.learning_rate)
        memory = size(point.memory_bytes) if point.memory_bytes else ""
        found[point.step] = [str(point.step), short(smooth[place]), "", rate, memory]
    for step, loss in held_out.items():
        found[step][2] = short(loss)
    return [found[step] for step in sorted(found)]


def _line(points: Iterable[tuple[int, float]], right: int, low: float, high: float) -> str:
    return " ".join(
        f"{WIDTH * step / right:.1f},{HEIGHT * (1 - (min(max(v, low), high) - low) / (high - low)):.1f}"
        for step, v in points
    )


def _window(points: int) -> int:
    return max(3, points // SMOOTHED_OVER)


def _loss_facts(
    points: Sequence[tuple[int, float]], right: int, validated: Sequence[Validated]
) -> dict[str, Any]:
    """Raw losses, their moving mean and the losses on pictures held back for the template; numbers stand in
    the HTML around the lines, so that they stay readable on a phone."""
    smooth = moving_mean([loss for _, loss in points], _window(len(points)))
    held_out = sorted((event.step, event.loss) for event in validated)
    low, high = _range([loss for _, loss in points], [*smooth, *(loss for _, loss in held_out)])
    steps = [step for step, _ in points]
    return {
        "raw": _line(points, right, low, high),
        "smooth": _line(zip(steps, smooth, strict=True), right, low, high),
        "held_out": _line(held_out, right, low, high) if held_out else "",
        "held_out_last": short(held_out[-1][1]) if held_out else "",
        "data": json.dumps([round(loss, 6) for _, loss in points]),
        "limits": json.dumps([low, high]),
        "low": short(low),
        "high": short(high),
        "last": short(smooth[-1]),
        "first": short(smooth[0]),
        "right": right,
        "step": points[-1][0],
    }


def moving_mean(values: Sequence[float], window: int) -> list[float]:
    """The mean of each value with up to `window - 1` values before it."""
    means: list[float] = []
    total = 0.0
    for index, value in enumerate(values):
        total += value - (values[index - window] if index >= window else 0.0)
        means.append(total / min(index + 1, window))
    return means


def _range(raw: Sequence[float], smooth: Sequence[float]) -> tuple[float, float]:
    """The least and the greatest loss without the worst 2 %, so that one spike can't flatten the rest."""
    ordered = sorted(raw)
    cut = len(ordered) // 50
    low = min(ordered[cut], *smooth)
    high = max(ordered[len(ordered) - 1 - cut], *smooth)
    return (low, high) if high - low > 1e-9 else (low - 0.5e-3, high + 0.5e-3)
