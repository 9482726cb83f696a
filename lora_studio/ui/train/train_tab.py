"""The Train tab, which watches: what runs, waits and has ended, and the chosen training beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import gradio as gr

from lora_studio.errors import StoreError
from lora_studio.estimate import earlier_seconds
from lora_studio.events import PhaseAdvanced, PreviewSaved, Started, Validated
from lora_studio.records import JobRecord, JobStatus
from lora_studio.store.job_lists import curve_points, ended_jobs, move_job, present_jobs
from lora_studio.studio import Studio
from lora_studio.ui.client_input import deleted_elsewhere
from lora_studio.ui.client_input.deleted_elsewhere import Footing
from lora_studio.ui.client_input.validate import QUICK, guarded, quietly, safe_id, whole
from lora_studio.ui.comparison import comparison_panel, strength_panel
from lora_studio.ui.train import checkpoint_panel as board
from lora_studio.ui.train import (
    history_removal,
    queue_views,
    result_card,
    set_pictures,
    training_chart,
    training_views,
)
from lora_studio.ui.train import run_controls as steering
from lora_studio.ui.train.queue_views import RAIL_JS
from lora_studio.ui.train.run_controls import RunControls
from lora_studio.ui.widgets.html_templates import ACTIONS_JS, hidden, panel

LOG_LINES = 80
HISTORY_LISTED, MOST_LISTED = 30, 3000
JOBS_ASKED = 50
WHOLE = Footing()
USE_IT, DRAW_WITH_IT = "Use it", "Draw with it"
ENDED_EARLY = {JobStatus.STOPPED, JobStatus.FAILED, JobStatus.INTERRUPTED}


@dataclass(frozen=True, kw_only=True)
class TrainTab:
    """The components of the tab."""

    job: gr.Textbox
    card: gr.HTML
    ready: gr.HTML
    use: gr.Button
    again: gr.Button
    steering: RunControls
    change: gr.Button
    previews: gr.HTML
    chart: gr.HTML
    log: gr.Textbox
    line: gr.HTML
    device_work: gr.HTML
    search: gr.Textbox
    limit: gr.Textbox
    history: gr.HTML
    removed: gr.HTML
    board: gr.HTML
    other: gr.Textbox
    comparison: gr.HTML
    strength: gr.HTML

    @property
    def live(self) -> list[Any]:
        """Components that follow the training, in the order of `job_updates`."""
        return [
            self.card,
            self.ready,
            self.use,
            self.again,
            *self.steering.live,
            self.change,
            self.chart,
            self.log,
            self.line,
            self.previews,
            self.board,
        ]

    @property
    def past(self) -> list[Any]:
        """Components that say which ended trainings are listed, in the order of `history_view`."""
        return [self.job, self.search, self.limit]


def render() -> TrainTab:
    """Create the components. Call inside a Tab."""
    parts: dict[str, Any] = {"job": hidden("train-job"), "limit": hidden("train-limit")}
    parts["other"] = hidden("train-other")
    with gr.Row(equal_height=False, elem_id="train-row"):
        with gr.Column(scale=2, min_width=280, elem_id="train-rail"):
            parts["line"] = panel(elem_id="train-line", actions=RAIL_JS)
            parts["device_work"] = panel(elem_id="train-device-work")
            parts["search"] = gr.Textbox(
                label="Find a training that has ended",
                placeholder="its name",
                max_lines=1,
                elem_id="train-history-search",
            )
            parts["removed"] = history_removal.render()
            actions = history_removal.HISTORY_JS + RAIL_JS
            parts["history"] = panel(queue_views.history([], ""), elem_id="train-history", actions=actions)
        with gr.Column(scale=5, min_width=320, elem_id="train-chosen"):
            parts["comparison"] = comparison_panel.render()
            parts["card"] = panel(training_views.job_card(None), elem_id="train-card", actions=ACTIONS_JS)
            parts["ready"] = result_card.render()
            with gr.Row(equal_height=True, elem_id="train-next"):
                parts["use"] = gr.Button(USE_IT, variant="primary", visible=False, elem_id="train-use")
                parts["steering"] = steering.render()
                parts["again"] = gr.Button("Start over", visible=False, elem_id="train-again")
                parts["change"] = gr.Button(
                    "Run again with one change", visible=False, elem_id="train-change"
                )
            parts |= _render_inner_tabs()
    return TrainTab(**parts)


def _render_inner_tabs() -> dict[str, Any]:
    parts: dict[str, Any] = {}
    with gr.Tabs(elem_id="train-inner"):
        with gr.Tab("Previews", id="previews"):
            parts["board"] = board.render("train-board")
            parts["previews"] = panel(elem_id="train-previews")
        with gr.Tab("Strength", id="strength"):
            parts["strength"] = strength_panel.render("train-strength")
        with gr.Tab("Numbers and log", id="numbers"):
            parts["chart"] = panel(elem_id="train-chart", actions=training_chart.CHART_JS)
            parts["log"] = gr.Textbox(
                label="The last lines of the log",
                lines=12,
                max_lines=12,
                interactive=False,
                autoscroll=True,
                elem_id="train-log",
            )
    return parts


def listen(tab: TrainTab, studio: Studio) -> Any:
    """Wire the tab's own buttons. Returns the events after which the page has to be refreshed."""
    listed: dict[str, Any] = {"inputs": tab.past, "outputs": tab.history, **QUICK}

    def show(event: gr.EventData) -> list[str]:
        return [studio.jobs.get(safe_id(getattr(event, "id", None), "training")).id, ""]

    def choose_pair(job_id: str, event: gr.EventData) -> list[str]:
        return comparison_panel.chosen_pair(studio, event, steering.shown(studio, job_id).id)

    def start_again(job_id: str) -> str:
        return studio.jobs.again(studio.jobs.get(safe_id(job_id, "training")).id).id

    def cancel(event: gr.EventData) -> None:
        job = studio.jobs.get(safe_id(getattr(event, "id", None), "training"))
        if job.status not in {JobStatus.QUEUED, JobStatus.PAUSED}:
            raise StoreError("This training waits no more.", "Stop it above the tabs.")
        studio.jobs.stop(job.id)

    def move(event: gr.EventData) -> None:
        by = -1 if getattr(event, "by", None) == "-1" else 1
        move_job(studio.database, safe_id(getattr(event, "id", None), "training"), by)

    def extend(event: gr.EventData) -> str:
        return str(whole(getattr(event, "limit", None), "limit") or HISTORY_LISTED)

    look = quietly(lambda *given: history_view(studio, *given), gr.skip)
    tab.search.change(look, **listed, queue=False, trigger_mode="always_last")
    extended = tab.history.expand(guarded(extend), None, tab.limit, **QUICK)
    events = [
        tab.line.click(guarded(show), None, [tab.job, tab.other], **QUICK),
        tab.history.click(guarded(show), None, [tab.job, tab.other], **QUICK),
        tab.line.select(guarded(choose_pair), tab.job, [tab.job, tab.other], **QUICK),
        tab.history.select(guarded(choose_pair), tab.job, [tab.job, tab.other], **QUICK),
        *comparison_panel.listen(tab.comparison, tab.job, tab.other, studio),
        strength_panel.listen(tab.strength, studio),
        tab.line.delete(guarded(cancel), None, None, **QUICK),
        tab.line.edit(guarded(move), None, None, **QUICK),
        tab.again.click(guarded(start_again), tab.job, tab.job, **QUICK),
        tab.card.click(guarded(deleted_elsewhere.undo_event(studio)), None, tab.card, **QUICK),
        result_card.listen(tab.ready, studio),
        *history_removal.listen(tab.history, tab.removed, studio),
        *steering.listen(tab.steering, tab.job, studio),
        board.listen(tab.board, studio),
    ]
    for event in (extended, *events):
        event.then(look, **listed)
    return events


def shown_job(studio: Studio, job_id: str) -> JobRecord | None:
    """The training that the page chose; without a choice the running one, else the newest."""
    try:
        found = studio.jobs.get(job_id)
    except StoreError:
        found = None
    return found if found is not None and not found.removed else _newest(studio)


def _newest(studio: Studio) -> JobRecord | None:
    return studio.jobs.running() or next(iter(studio.jobs.jobs(limit=1)), None)


def history_view(studio: Studio, job_id: Any, search: Any, limit: Any) -> str:
    """HTML of the ended trainings, from the values of `TrainTab.past`."""
    most = min(MOST_LISTED, max(HISTORY_LISTED, int(limit) if str(limit or "").isdecimal() else 0))
    wanted = str(search or "")
    jobs, found = ended_jobs(studio.database, wanted, most)
    shown = shown_job(studio, str(job_id or ""))
    return queue_views.history(
        jobs, shown.id if shown else "", found=found, search=wanted, following=most + HISTORY_LISTED
    )


def line_view(studio: Studio, shown: str) -> str:
    """HTML of the trainings that run, are paused or wait."""
    earlier = cache(lambda: studio.jobs.jobs(limit=JOBS_ASKED))  # nobody asks while nothing waits
    return queue_views.line(
        present_jobs(studio.database), shown, lambda job: expected_seconds(earlier(), job)
    )


def expected_seconds(earlier: Sequence[JobRecord], job: JobRecord) -> float:
    """The time that a training will take, going by an earlier one of its kind; 0 without one."""
    groups = [group for group in job.config.values() if isinstance(group, dict)]
    values = {name: value for group in groups for name, value in group.items()}
    return earlier_seconds(earlier, str(values.get("pretrained_model_name_or_path")), values, job.total_steps)


def shown_mark(job: JobRecord | None) -> list[Any]:
    """Facts that change with the shown training."""
    return [job.id, job.revision, str(job.status), job.step] if job is not None else []


def other_updates(tab: TrainTab, studio: Studio, job: JobRecord | None) -> list[Any]:
    """Values for `TrainTab.live` when only the trainings beside the shown one have changed."""
    line = line_view(studio, job.id if job is not None else "")
    return [line if part is tab.line else gr.skip() for part in tab.live]


def job_updates(studio: Studio, job: JobRecord | None, drawn: Any) -> tuple[list[Any], dict[str, Any]]:
    """Values for `TrainTab.live`, and marks of newest preview and curves; `drawn` are the page's marks."""
    if job is None:
        empty = [training_views.job_card(None), "", *_buttons(None)]
        return [*empty, "", "", line_view(studio, ""), "", ""], {}
    facts = studio.jobs.events(job.id, kinds=(Started.__name__, PhaseAdvanced.__name__))
    pictures = studio.jobs.events(job.id, kinds=(PreviewSaved.__name__,))
    measured = validated(studio, job.id)
    footing = deleted_elsewhere.footing(studio, job)
    shown = [one for one in pictures if job.status.active or Path(one.event.path).is_file()]
    marks: dict[str, Any] = {
        "previews": [pictures[-1].sequence if pictures else 0, job.status.active],
        "curves": [*training_chart.chart_mark(job.id, job.step, job.total_steps), len(measured)],
    }
    before = drawn if isinstance(drawn, dict) else {}
    updates = [
        footing.said + training_views.job_card(job, facts),
        result_card.result_card(studio, job) + set_pictures.far_off_note(studio, job) if footing.lora else "",
        *_buttons(job, footing),
        gr.skip()
        if before.get("curves") == marks["curves"]
        else training_chart.curves(curve_points(studio.database, job.id), job.total_steps, measured),
        studio.jobs.log_tail(job.id, lines=LOG_LINES),
        line_view(studio, job.id),
        gr.skip()
        if before.get("previews") == marks["previews"]
        else training_views.previews(
            shown, job.name, set_pictures.beside(studio, job), is_running=job.status.active
        ),
        board.board_of(studio, result_slug(job)) if job.status is JobStatus.FINISHED else "",
    ]
    return updates, marks


def validated(studio: Studio, job_id: str) -> list[Validated]:
    """The losses on the pictures held back; a step that was measured twice counts as the last."""
    found = studio.jobs.events(job_id, kinds=(Validated.__name__,))
    return list({item.event.step: item.event for item in found}.values())


def _buttons(job: JobRecord | None, footing: Footing = WHOLE) -> list[dict[str, Any]]:
    """Visibility of the buttons: none that needs something deleted."""
    usable = job is not None and not job.status.active and footing.lora and bool(result_slug(job))
    name = DRAW_WITH_IT if job is not None and job.status is JobStatus.FINISHED else USE_IT
    repeatable = job is not None and (job.status in ENDED_EARLY or not footing.lora) and footing.pictures
    steered = job if footing.whole else None
    again = gr.update(visible=job is not None and not job.status.active and footing.pictures)
    return [
        gr.update(visible=usable, value=name, variant="secondary" if steering.rests(job) else "primary"),
        gr.update(visible=repeatable),
        *steering.updates(steered, has_lora=usable),
        again,
    ]


def lora_of(studio: Studio, job_id: str) -> str:
    """The slug of the LoRA of a training that has ended; empty without one."""
    try:
        job = studio.jobs.get(job_id)
    except StoreError:
        return ""
    return "" if job.status.active else result_slug(job)


def result_slug(job: JobRecord) -> str:
    """The slug of the LoRA that a training left; empty when there is none."""
    return Path(job.result_path).name if job.result_path else ""
