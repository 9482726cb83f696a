"""The curves of a training: losses, learning rate, memory; and the same as a table."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lora_studio.events import Validated
from lora_studio.formatting import short, size
from lora_studio.store.job_lists import CurvePoint
from lora_studio.ui.widgets.curves import polyline, smoothed, value_range
from lora_studio.ui.widgets.html_templates import fill

CHART_JS = Path(__file__).with_name("training_chart.js").read_text("utf-8")
POINTS = 200
ROWS = 10
"""Rows of the table, beside those of the measurements on pictures held back."""


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
        "points": polyline(points, right, 0.0, high),
        "high": show(high),
        "first": show(points[0][1]),
        "last": show(points[-1][1]),
    }


def _rows(points: Sequence[CurvePoint], validated: Sequence[Validated]) -> list[list[str]]:
    """Step, mean loss, loss on pictures held back, learning rate and memory as text, by step."""
    smooth = smoothed([point.loss for point in points])
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


def _loss_facts(
    points: Sequence[tuple[int, float]], right: int, validated: Sequence[Validated]
) -> dict[str, Any]:
    """Raw losses, their moving mean and the losses on pictures held back for the template; numbers stand in
    the HTML around the lines, so that they stay readable on a phone."""
    smooth = smoothed([loss for _, loss in points])
    held_out = sorted((event.step, event.loss) for event in validated)
    low, high = value_range([loss for _, loss in points], [*smooth, *(loss for _, loss in held_out)])
    steps = [step for step, _ in points]
    return {
        "raw": polyline(points, right, low, high),
        "smooth": polyline(zip(steps, smooth, strict=True), right, low, high),
        "held_out": polyline(held_out, right, low, high) if held_out else "",
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
