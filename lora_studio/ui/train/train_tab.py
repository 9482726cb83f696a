"""The Train tab: the shown training, its previews, the history."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from lora_studio.events import PhaseAdvanced, PreviewSaved, Started, Validated
from lora_studio.records import JobRecord, JobStatus
from lora_studio.studio import Studio
from lora_studio.ui.client_input import deleted_elsewhere
from lora_studio.ui.client_input.deleted_elsewhere import Footing
from lora_studio.ui.client_input.validate import guarded, safe_id
from lora_studio.ui.train import checkpoint_panel as board
from lora_studio.ui.train import run_controls as steering
from lora_studio.ui.train import training_views
from lora_studio.ui.train.run_controls import RunControls
from lora_studio.ui.widgets.html_templates import ACTIONS_JS, hidden, panel

LOG_LINES = 80
WHOLE = Footing()
ENDED_EARLY = {JobStatus.STOPPED, JobStatus.FAILED, JobStatus.INTERRUPTED}


@dataclass(frozen=True, kw_only=True)
class TrainTab:
    """The components of the tab."""

    job: gr.Textbox
    card: gr.HTML
    use: gr.Button
    again: gr.Button
    steering: RunControls
    previews: gr.HTML
    chart: gr.HTML
    log: gr.Textbox
    history: gr.HTML
    board: gr.HTML

    @property
    def live(self) -> list[Any]:
        """Components that follow the training, in the order of `job_updates`."""
        return [
            self.card,
            self.use,
            self.again,
            *self.steering.live,
            self.chart,
            self.log,
            self.history,
            self.previews,
            self.board,
        ]


def render() -> TrainTab:
    """Create the components. Call inside a Tab."""
    parts: dict[str, Any] = {"job": hidden("train-job")}
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=320):
            parts["card"] = panel(training_views.job_card(None), elem_id="train-card", actions=ACTIONS_JS)
            with gr.Row(elem_id="train-next"):
                parts["steering"] = steering.render()
                parts["use"] = gr.Button("Use it", variant="primary", visible=False, elem_id="train-use")
                parts["again"] = gr.Button("Start it again", visible=False, elem_id="train-again")
            parts["board"] = board.render("train-board")
            parts["previews"] = panel(elem_id="train-previews")
        with gr.Column(scale=2, min_width=320):
            parts["history"] = panel(
                training_views.history([], ""), elem_id="train-history", actions=ACTIONS_JS
            )
            parts["chart"] = panel(elem_id="train-chart")
            with gr.Accordion("Log", open=False, elem_id="train-log-fold"):
                parts["log"] = gr.Textbox(
                    label="The last lines of the log",
                    lines=12,
                    max_lines=12,
                    interactive=False,
                    autoscroll=True,
                    elem_id="train-log",
                )
    return TrainTab(**parts)


def listen(tab: TrainTab, studio: Studio) -> Any:
    """Wire the tab's own buttons. Returns the events after which the page has to be refreshed."""
    quick: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}

    def show(event: gr.EventData) -> str:
        return studio.jobs.get(safe_id(getattr(event, "id", None), "training")).id

    def start_again(job_id: str) -> str:
        return studio.jobs.again(studio.jobs.get(safe_id(job_id, "training")).id).id

    chosen = tab.history.click(guarded(show), None, tab.job, **quick)
    repeated = tab.again.click(guarded(start_again), tab.job, tab.job, **quick)
    steered = steering.listen(tab.steering, tab.job, studio)
    undone = tab.card.click(guarded(deleted_elsewhere.undo_event(studio)), None, tab.card, **quick)
    return [chosen, repeated, undone, *steered, board.listen(tab.board, studio)]


def shown_job(studio: Studio, job_id: str) -> JobRecord | None:
    """The training that the page chose; without a choice the running one, else the newest."""
    jobs = studio.jobs.jobs(limit=50)
    chosen = next((job for job in jobs if job.id == job_id), None)
    return chosen or studio.jobs.running() or next(iter(jobs), None)


def job_updates(studio: Studio, job: JobRecord | None, drawn: Any) -> tuple[list[Any], int]:
    """Values for `TrainTab.live`, and a mark of the newest preview; `drawn` is the mark of those on the
    page."""
    jobs = studio.jobs.jobs(limit=50)
    if job is None:
        return [
            training_views.job_card(None),
            *_buttons(None),
            "",
            "",
            training_views.history(jobs, ""),
            "",
            "",
        ], 0
    facts = studio.jobs.events(job.id, kinds=(Started.__name__, PhaseAdvanced.__name__))
    pictures = studio.jobs.events(job.id, kinds=(PreviewSaved.__name__,))
    newest = pictures[-1].sequence if pictures else 0
    footing = deleted_elsewhere.footing(studio, job)
    shown = [one for one in pictures if job.status.active or Path(one.event.path).is_file()]
    updates = [
        footing.said + training_views.job_card(job, facts, time.time()),
        *_buttons(job, footing),
        training_views.loss_chart(
            studio.jobs.losses(job.id, points=200), job.total_steps, validated(studio, job.id)
        ),
        studio.jobs.log_tail(job.id, lines=LOG_LINES),
        training_views.history(jobs, job.id),
        gr.skip() if newest == drawn else training_views.previews(shown, job.name),
        board.board_of(studio, result_slug(job)) if job.status is JobStatus.FINISHED else "",
    ]
    return updates, newest


def validated(studio: Studio, job_id: str) -> list[Validated]:
    """The losses on the pictures held back. Of a step that was measured twice, because the run went back, the
    last one counts."""
    found = studio.jobs.events(job_id, kinds=(Validated.__name__,))
    return list({item.event.step: item.event for item in found}.values())


def _buttons(job: JobRecord | None, footing: Footing = WHOLE) -> list[dict[str, Any]]:
    """Visibility of the buttons: none that needs something deleted."""
    usable = job is not None and not job.status.active and footing.lora and bool(result_slug(job))
    repeatable = job is not None and (job.status in ENDED_EARLY or not footing.lora) and footing.pictures
    steered = job if footing.whole else None
    return [gr.update(visible=usable), gr.update(visible=repeatable), *steering.updates(steered)]


def result_slug(job: JobRecord) -> str:
    """The slug of the LoRA that a training left; empty when there is none."""
    return Path(job.result_path).name if job.result_path else ""
