"""The estimate of a training, measured on a click: time, memory, disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from lora_studio.estimate import TrainingEstimate
from lora_studio.events import ShouldStop
from lora_studio.formatting import duration, short, size
from lora_studio.ui.client_input.field_refusals import labelled_sentence
from lora_studio.ui.client_input.validate import QUICK, guarded
from lora_studio.ui.train.cancel_events import Stops
from lora_studio.ui.widgets.html_templates import fill, panel
from lora_studio.ui.widgets.setting_labels import LABELS

Measure = Callable[[tuple[Any, ...], ShouldStop], tuple[TrainingEstimate | None, Mapping[str, Any]]]
"""A function from the values of the form and a way to stop to the estimate, and to what is kept of it."""


@dataclass(frozen=True, kw_only=True)
class PlanParts:
    """The text and the two buttons."""

    text: gr.HTML
    go: gr.Button
    stop: gr.Button


def render() -> PlanParts:
    """Create the components. Call inside a Tab."""
    with gr.Row():
        go = gr.Button("Plan: measure it first", elem_id="train-plan-go")
        stop = gr.Button("Stop measuring", variant="stop", visible=False, elem_id="train-plan-stop")
    text = panel(elem_id="train-plan", actions="element.setAttribute('role', 'status')")
    return PlanParts(text=text, go=go, stop=stop)


def listen(
    parts: PlanParts,
    inputs: list[Any],
    measure: Measure,
    facts: gr.JSON,
    guard: Callable[[Callable[..., Any]], Callable[..., Any]] = guarded,
) -> Any:
    """Wire the buttons. `inputs` are the components that a training is started with; `facts` keeps what was
    measured; `guard` makes the handler that shows what is refused. Returns the event of the measurement."""
    stops = Stops()

    def work(request: gr.Request, *values: Any) -> list[Any]:
        with stops.watch(request.session_hash or "") as should_stop:
            estimate, kept = measure(values, should_stop)
        return [view(estimate), kept]

    def stop(request: gr.Request) -> None:
        if stops.ask(request.session_hash or ""):
            gr.Info("Stopping.")

    buttons = [parts.go, parts.stop]
    running = parts.go.click(lambda: busy(True), None, buttons, **QUICK).then(
        guard(work),
        inputs,
        [parts.text, facts],
        show_progress_on=parts.text,
        api_visibility="private",
        concurrency_limit=1,
    )
    parts.stop.click(guarded(stop), None, None, **QUICK)
    for after in (running.success, running.failure):  # then() does not follow a failed event (6.31)
        after(lambda: busy(False), None, buttons, **QUICK)
    return running


def busy(working: bool) -> list[dict[str, Any]]:
    return [gr.update(interactive=not working), gr.update(visible=working)]


def view(plan: TrainingEstimate | None) -> str:
    """HTML of the estimate's sentence and figures; without an estimate, that it was stopped."""
    if plan is None:
        return fill("measured", sentence="The measurement was stopped.", facts=[], notes=[])
    notes = [labelled_sentence(note, LABELS) for note in plan.notes]
    return fill("measured", sentence=plan.sentence, facts=list(figures(plan).items()), notes=notes)


def figures(plan: TrainingEstimate) -> Mapping[str, str]:
    """The estimate's figures by their names."""
    wide, high = plan.bucket
    return {
        "one step": f"{short(plan.seconds_per_step)} s (largest pictures: {wide} × {high})",
        "until the first step": duration(plan.start_seconds),
        f"{plan.steps} steps": duration(plan.train_seconds),
        "previews": duration(plan.preview_seconds),
        "disk": size(plan.disk_bytes),
        "measured on": plan.device,
    }
