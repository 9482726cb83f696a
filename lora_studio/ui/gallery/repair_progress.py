"""The repair or merge of a LoRA file that goes on in the Gallery: its bar, its Stop, and what became of it.
It follows the page's revision, so that a page that is reloaded has it again."""

from __future__ import annotations

import time

import gradio as gr

from lora_studio.jobs.lora_files.repair_jobs import RepairJob, RepairState
from lora_studio.studio import Studio
from lora_studio.ui.client_input.validate import guarded, safe_id
from lora_studio.ui.widgets.html_templates import ACTIONS_JS, fill, panel

SHOWN_SECONDS = 600.0
"""Seconds for which an ended one is shown."""


def render() -> gr.HTML:
    """Create the component. Call above what begins a repair, where it is seen while that is folded away."""
    return panel(elem_id="gallery-repair-progress", actions=ACTIONS_JS)


def listen(progress: gr.HTML, studio: Studio) -> None:
    """Wire its Stop."""

    def stop_repair(event: gr.EventData) -> None:
        studio.inspector.jobs.stop(safe_id(getattr(event, "id", ""), "repair"))

    progress.click(
        guarded(stop_repair),
        None,
        None,
        api_name="end_repair",  # the endpoint's name would be taken
        api_visibility="private",
        show_progress="hidden",
    )


def view(studio: Studio) -> str:
    """HTML of the visitor's running job, else of the one that ended last; empty without."""
    jobs = studio.inspector.jobs.jobs()
    running = next((job for job in jobs if job.active), None)
    recent = (job for job in jobs if time.time() - job.ended_at < SHOWN_SECONDS)
    job = running or next(recent, None)
    return fill("repair", job=job, sentence=sentence(job)) if job else ""


def sentence(job: RepairJob) -> str:
    """The place where a job is, or how it ended."""
    match job.state:
        case RepairState.RUNNING if job.stop_asked:
            return "Stopping after this layer; nothing is kept."
        case RepairState.RUNNING:
            return job.note or ("Layer by layer." if job.total else "Waiting for another one to end.")
        case RepairState.FINISHED:
            return "It is in the library."
        case RepairState.STOPPED:
            return "It was stopped; nothing of it is kept."
    return f"{job.error.message} {job.error.hint}".strip() if job.error else ""
