"""Two trainings side by side: the settings that differ, and the figures of each."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from lora_studio.config import config_leaves
from lora_studio.events import PreviewSaved, Started, Validated
from lora_studio.jobs.training_queue import TrainingQueue
from lora_studio.records import JobRecord
from lora_studio.store.database import Database
from lora_studio.store.job_lists import curve_points

POINTS = 200
"""Points of a curve, at most about."""
NAMES = frozenset({"version", "output_name", "output_dir", "title", "logging_dir"})
"""Values that tell one training from another, and change nothing in it."""
LONGEST_VALUE = 300

Curve = tuple[tuple[int, float], ...]
"""(step, value) in order of the steps."""


@dataclass(frozen=True, kw_only=True)
class SettingDifference:
    """A setting by Kohya's name, and its value in each of the two trainings; None where it has none."""

    name: str
    values: tuple[Any, Any]


@dataclass(frozen=True, kw_only=True)
class RunFigures:
    """The figures of one training so far. `seconds` is its time at work, `seconds_per_step` that by its
    steps; `device` is what it runs on, `memory_bytes` the most that was seen in use, 0 where nobody could
    tell."""

    job: JobRecord
    device: str
    seconds: float
    seconds_per_step: float | None
    memory_bytes: int
    losses: Curve
    validation: Curve
    learning_rates: Curve
    previews: tuple[PreviewSaved, ...]

    @property
    def best_validation(self) -> tuple[int, float] | None:
        """Step and value of the lowest loss on the pictures held back."""
        return min(self.validation, key=lambda point: point[1], default=None)


@dataclass(frozen=True, kw_only=True)
class RunComparison:
    """Two trainings, with the settings that differ and the number of those that are the same."""

    runs: tuple[RunFigures, RunFigures]
    differences: tuple[SettingDifference, ...]
    same: int


def compare_runs(queue: TrainingQueue, database: Database, first: str, second: str) -> RunComparison:
    """The comparison of two trainings by their ids, also of one that goes on. Raises StoreError."""
    jobs = queue.get(first), queue.get(second)
    values = [_settings(job.config) for job in jobs]
    names = dict.fromkeys(name for both in values for name in both if name not in NAMES)
    pairs = [
        SettingDifference(name=name, values=(values[0].get(name), values[1].get(name))) for name in names
    ]
    differences = tuple(pair for pair in pairs if pair.values[0] != pair.values[1])
    return RunComparison(
        runs=(_figures(queue, database, jobs[0]), _figures(queue, database, jobs[1])),
        differences=differences,
        same=len(pairs) - len(differences),
    )


def _figures(queue: TrainingQueue, database: Database, job: JobRecord) -> RunFigures:
    kinds = (Started.__name__, Validated.__name__, PreviewSaved.__name__)
    events = [stored.event for stored in queue.events(job.id, kinds=kinds)]
    started = [event for event in events if isinstance(event, Started)]
    points = curve_points(database, job.id, POINTS)
    seconds = job.seconds_at_work(time.time())
    return RunFigures(
        job=job,
        device=started[-1].device if started else "",
        seconds=seconds,
        seconds_per_step=seconds / job.step if job.step and seconds else None,
        memory_bytes=max((point.memory_bytes for point in points), default=0),
        losses=tuple((point.step, point.loss) for point in points),
        # Of a step that was measured twice, because the run went back, the last one counts.
        validation=tuple(sorted({e.step: e.loss for e in events if isinstance(e, Validated)}.items())),
        learning_rates=tuple(
            (point.step, point.learning_rate) for point in points if point.learning_rate is not None
        ),
        previews=tuple(event for event in events if isinstance(event, PreviewSaved) and event.step),
    )


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings by name, in the order of groups; what an earlier version lacked has its default."""
    groups = [group for group in config.values() if isinstance(group, Mapping)]
    given = {name: value for group in groups for name, value in group.items()}
    usual = {leaf.name: leaf.default for leaf in config_leaves() if not leaf.required}
    return {name: shown_to_others(value) for name, value in {**usual, **given}.items()}


def shown_to_others(value: Any) -> Any:
    """A setting's value for whom a training is shared with: a path's last part, a long text's beginning."""
    if isinstance(value, list | tuple):
        return [shown_to_others(one) for one in value[:LONGEST_VALUE]]
    if not isinstance(value, str):
        return value
    for kind in (PurePosixPath, PureWindowsPath):
        if kind(value).is_absolute():
            return kind(value).name
    return value[:LONGEST_VALUE]
