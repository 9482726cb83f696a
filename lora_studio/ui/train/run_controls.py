"""Buttons that control the shown training: pause, save, preview, resume, a new run from here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from lora_studio.records import JobRecord, JobStatus
from lora_studio.studio import Studio
from lora_studio.ui.client_input.validate import QUICK, guarded, safe_id

FOLLOW_FOCUS = """() => {
  const pair = ['train-resume', 'train-pause'];
  const seen = (one) => one && one.offsetParent && !one.disabled;
  const first = document.activeElement;
  const clicked = first && pair.includes(first.id) ? first.id : '';
  const look = (left) => {
    const active = document.activeElement;
    const own = !active || active === document.body || !active.offsetParent
      || [...pair, 'train-fork'].includes(active.id);
    if (!own) return;
    const button = pair.filter((id) => id !== clicked).map((id) => document.getElementById(id)).find(seen);
    if (button) button.focus(); else if (left) setTimeout(look, 250, left - 1);
  };
  setTimeout(look, 250, 240);
}"""
"""Script that moves the focus along when Pause makes way for Resume and back, some looks later, unless the
focus is elsewhere."""
RESUME_INSTEAD = frozenset({JobStatus.STOPPED, JobStatus.FAILED, JobStatus.INTERRUPTED})


@dataclass(frozen=True, kw_only=True)
class RunControls:
    """The buttons."""

    pause: gr.Button
    save: gr.Button
    preview: gr.Button
    resume: gr.Button
    fork: gr.Button

    @property
    def live(self) -> list[Any]:
        """Components in the order of `updates`."""
        return [self.pause, self.save, self.preview, self.resume, self.fork]


def render() -> RunControls:
    """Create the buttons, unseen. Call inside a Row."""
    return RunControls(
        pause=gr.Button("Pause", visible=False, elem_id="train-pause"),
        save=gr.Button("Save now", visible=False, elem_id="train-save-now"),
        preview=gr.Button("Preview now", visible=False, elem_id="train-preview-now"),
        resume=gr.Button("Go on", variant="primary", visible=False, elem_id="train-resume"),
        fork=gr.Button("Train on from these weights", visible=False, elem_id="train-fork"),
    )


def updates(job: JobRecord | None, *, has_lora: bool = False) -> list[dict[str, Any]]:
    """Visibility of a training's buttons. With `has_lora` going on is the lesser choice, unless it rests."""
    controllable = job is not None and can_be_told(job)
    running = controllable and job is not None and job.status is JobStatus.RUNNING
    waits = controllable and job is not None and job.status is JobStatus.QUEUED
    resumable = job is not None and job.resumable
    has_state = job is not None and job.state_step is not None
    forkable = job is not None and job.status in RESUME_INSTEAD and resumable and has_state
    return [
        gr.update(visible=running or waits),
        gr.update(visible=running),
        gr.update(visible=running),
        gr.update(visible=resumable, variant="secondary" if has_lora and not rests(job) else "primary"),
        gr.update(visible=forkable),
    ]


def rests(job: JobRecord | None) -> bool:
    """Whether a training was paused, to go on later."""
    return job is not None and job.status is JobStatus.PAUSED


def can_be_told(job: JobRecord) -> bool:
    """Whether a training takes commands; one of another program can only be stopped."""
    run: Mapping[str, Any] = job.config.get("run", {})
    return bool(run.get("engine", "lora-studio") == "lora-studio")


def listen(steering: RunControls, job: gr.Textbox, studio: Studio) -> list[Any]:
    """Wire the buttons; `job` is the id of the training that is shown. Returns the events after which the
    page has to be refreshed."""
    jobs = studio.jobs

    def with_job(action: Callable[[str], JobRecord]) -> Callable[[str], str]:
        def act(job_id: str) -> str:
            return action(shown(studio, job_id).id).id

        act.__name__ = action.__name__  # the audit log calls it so
        return guarded(act)

    actions: list[tuple[gr.Button, Callable[[str], JobRecord], bool]] = [
        (steering.pause, jobs.pause, True),
        (steering.save, jobs.save_now, False),
        (steering.preview, jobs.preview_now, False),
        (steering.resume, jobs.resume, True),
        (steering.fork, jobs.fork, True),
    ]
    events = []
    for button, action, moves in actions:
        clicked = button.click(with_job(action), job, job, api_name="act", **QUICK)  # not an endpoint's name
        events.append(clicked.then(None, js=FOLLOW_FOCUS, api_visibility="private") if moves else clicked)
    return events


def shown(studio: Studio, job_id: str) -> JobRecord:
    """The training that the page chose, or that it shows without a choice. Raises StoreError."""
    if job_id:
        return studio.jobs.get(safe_id(job_id, "training"))
    newest = studio.jobs.running() or next(iter(studio.jobs.jobs(limit=1)), None)
    return newest or studio.jobs.get("none")
