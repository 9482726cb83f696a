"""The changes that an event makes in its job's row: status, percent done, time left."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lora_studio.events import (
    PHASES,
    CheckpointSaved,
    Event,
    Failed,
    Finished,
    Noted,
    Paused,
    PhaseAdvanced,
    PreviewSaved,
    Started,
    StateSaved,
    StepDone,
    Stopped,
)
from lora_studio.records import JobStatus

MEMORY_STEPS = 20

Row = Mapping[str, Any]


def changes(job: Row, event: Event, at: float) -> dict[str, Any]:
    """Column values that the event at unix time `at` brings; `job` is the row before it. The percent falls
    only when the run goes back."""
    match event:
        case Started():
            return _started(job, event, at)
        case PhaseAdvanced():
            return {"phase": event.phase, "progress": _percent(job, event)}
        case StepDone():
            return {**_stepped(job, event), **_timed(job, event, at)}
        case PreviewSaved():
            return {"phase": "preview"}
        case CheckpointSaved(final=False):
            return {"phase": "save"}
        case StateSaved():
            return {"state_step": event.step}
        case Noted():
            return {"message": event.message}
        case Finished():
            ended = {**_ended(JobStatus.FINISHED, at), "progress": 100.0, "result_path": event.path}
            return {**ended, "state_step": None}
        case Paused():
            ended = {**_ended(JobStatus.PAUSED, at), "step": event.step}
            reason = {"message": event.message, "hint": event.hint}
            return {**ended, **reason, "result_path": event.path or job["result_path"]}
        case Stopped():
            # A resumed run that is stopped at once has still the result of its last stop.
            return {**_ended(JobStatus.STOPPED, at), "result_path": event.path or job["result_path"]}
        case Failed():
            return {**_ended(JobStatus.FAILED, at), "message": event.message, "hint": event.hint}
    return {}


def _started(job: Row, event: Started, at: float) -> dict[str, Any]:
    ending = job["status"] in (JobStatus.STOPPING, JobStatus.PAUSING)
    begin, end = PHASES["train"].share
    share = event.start_step / event.total_steps if event.total_steps else 0.0
    return {
        "status": job["status"] if ending else JobStatus.RUNNING,
        "started_at": job["started_at"] or at,
        "total_steps": event.total_steps,
        "step": event.start_step,
        "progress": begin + (end - begin) * share if event.start_step else 0.0,
        "message": "",
        "hint": "",
        # The time left is reckoned from what this part of the run takes.
        **{"train_started_at": None, "train_seconds": 0.0, "train_steps": 0, "step_seconds": None},
    }


def _percent(job: Row, event: PhaseAdvanced) -> float:
    begin, end = PHASES[event.phase].share if event.phase in PHASES else (0, 0)
    saves_early = event.phase == "save" and job["step"] < job["total_steps"]  # a checkpoint in mid-run
    if not event.total or saves_early:
        return float(job["progress"])
    share = min(1.0, max(0.0, event.done / event.total))
    return max(float(job["progress"]), begin + (end - begin) * share)


def _stepped(job: Row, event: StepDone) -> dict[str, Any]:
    begin, end = PHASES["train"].share
    share = min(1.0, event.step / event.total_steps) if event.total_steps else 0.0
    went_back = event.step <= job["step"]
    return {
        "phase": "train",
        "step": event.step,
        "total_steps": event.total_steps,
        "loss": event.average_loss if math.isfinite(event.average_loss) else None,
        "progress": max(0.0 if went_back else float(job["progress"]), begin + (end - begin) * share),
    }


def _timed(job: Row, event: StepDone, at: float) -> dict[str, Any]:
    """Columns of the time left: the moving mean of the last steps for the steps to come, and for previews,
    checkpoints and generations between steps the mean time per step so far."""
    steps, seconds = job["train_steps"] + 1, job["train_seconds"] + event.seconds
    begun = at - event.seconds if job["train_started_at"] is None else job["train_started_at"]
    # The first step is the slow one; it must not stay in the mean.
    weight = 1.0 if steps <= 2 else max(1 / (steps - 1), 1 / MEMORY_STEPS)
    mean = event.seconds * weight + (job["step_seconds"] or 0.0) * (1 - weight)
    between = max(0.0, at - begun - seconds) / steps
    left = max(0, event.total_steps - event.step) * (mean + between)
    return {
        "train_started_at": begun,
        "train_seconds": seconds,
        "train_steps": steps,
        "step_seconds": mean,
        "seconds_left": left if math.isfinite(left) else None,
    }


def _ended(status: JobStatus, at: float) -> dict[str, Any]:
    return {"status": status, "finished_at": at, "seconds_left": None, "message": "", "hint": ""}
