"""The quiet line above the tabs: trainings that wait for somebody. Paused ones, those that the end of a
studio interrupted, and the one that has just been stopped, with the way back."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from lora_studio.formatting import counted
from lora_studio.records import JobRecord, JobStatus
from lora_studio.store.job_lists import interrupted_jobs, last_ended, present_jobs
from lora_studio.studio import Studio
from lora_studio.ui.client_input import deleted_elsewhere
from lora_studio.ui.client_input.validate import QUICK, guarded, safe_id
from lora_studio.ui.train import training_views
from lora_studio.ui.widgets.html_templates import fill, panel

PAUSED_JS = Path(__file__).with_name("paused_trainings.js").read_text("utf-8")
JUST_SECONDS = 15 * 60
"""Seconds for which a training counts as just stopped."""
MOST_SHOWN = 3


def render() -> gr.HTML:
    """Create the line. Call inside the Blocks."""
    return panel(elem_id="paused", actions=PAUSED_JS)


def listen(line: gr.HTML, job: gr.Textbox, tabs: gr.Tabs, studio: Studio) -> list[Any]:
    """Wire the line; `job` is the id of the training that the Train tab shows. Returns the events after which
    the page has to be refreshed."""

    def at(action: Callable[[str], JobRecord]) -> Callable[[gr.EventData], str]:
        return lambda event: action(safe_id(getattr(event, "id", None), "training")).id

    def show(event: gr.EventData) -> list[Any]:
        return [at(studio.jobs.get)(event), gr.Tabs(selected="train")]

    def go_on(event: gr.EventData) -> str:
        return at(studio.jobs.resume)(event)

    def cancel(event: gr.EventData) -> str:
        return at(lambda job_id: studio.jobs.stop(studio.jobs.get(job_id).id))(event)

    return [
        line.click(guarded(show), None, [job, tabs], **QUICK),
        line.undo(guarded(go_on), None, job, **QUICK),
        line.delete(guarded(cancel), None, job, **QUICK),
    ]


def waiting_trainings(studio: Studio, now: float) -> list[JobRecord]:
    """The trainings of the line at the unix time `now`, those that were stopped just now first."""
    paused = [job for job in present_jobs(studio.database) if job.status is JobStatus.PAUSED]
    interrupted = [job for job in interrupted_jobs(studio.database) if job.resumable]
    last = last_ended(studio.database, now - JUST_SECONDS)
    stopped = [last] if last is not None and last.status is JobStatus.STOPPED else []
    return [job for job in (*stopped, *paused, *interrupted) if deleted_elsewhere.footing(studio, job).whole]


def sentence(job: JobRecord) -> str:
    """The state of a training of the line in words."""
    if job.status is JobStatus.INTERRUPTED:
        return f"Interrupted at step {job.step} of {job.total_steps}: the studio ended while it ran."
    return training_views.sentence(job)


def paused_line(studio: Studio) -> str:
    """HTML of the line; empty when nothing waits for anybody."""
    jobs = waiting_trainings(studio, time.time())
    rows = [
        {
            "job": job,
            "sentence": sentence(job),
            "is_stopped": job.status is JobStatus.STOPPED,
            "usable": job.status is JobStatus.STOPPED and bool(job.result_path),
        }
        for job in jobs[:MOST_SHOWN]
    ]
    hidden = len(jobs) - len(rows)
    others = f"{counted(hidden, 'more training waits', 'more trainings wait')} on Train." if hidden else ""
    return fill("paused", rows=rows, more=others) if rows else ""
