"""The questions of a training, its settings, its summary and its start: one panel beside the pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import gradio as gr

from lora_studio.catalog import STARTER, plan
from lora_studio.config import Kind, config_leaf
from lora_studio.errors import ConfigError, DatasetError
from lora_studio.estimate import TrainingEstimate
from lora_studio.events import ShouldStop
from lora_studio.jobs.engine_worker import NOT_ON_ZERO_GPU, TRAIN_ELSEWHERE
from lora_studio.settings import Settings
from lora_studio.studio import Studio
from lora_studio.training_request import StartTraining
from lora_studio.training_setup import slug_of
from lora_studio.ui.client_input import field_refusals
from lora_studio.ui.client_input.field_refusals import RefusalList, in_labels
from lora_studio.ui.client_input.validate import base_names, safe_base, safe_id, takes_hub_ids
from lora_studio.ui.upload import base_cards, saved_panel
from lora_studio.ui.upload.estimate_panel import render as render_measured
from lora_studio.ui.upload.setup_places import QUESTION_LABELS, without_shown_help
from lora_studio.ui.upload.training_summary import DEFAULT_BASE, MISSING
from lora_studio.ui.widgets.html_templates import fill, heading, panel
from lora_studio.ui.widgets.setting_labels import LABELS
from lora_studio.ui.widgets.settings_form import overrides, render_form

R = TypeVar("R")

KINDS: Mapping[Kind, str] = {
    "person": "Person\nOne face: you, a friend",
    "style": "Style\nHow things are drawn",
    "object": "Object\nOne thing: a toy, a product",
    "character": "Character\nA drawn figure, a mascot",
}
CHANGE_JS = """
element.addEventListener('click', (event) => {
  if (!event.target.closest('[data-action=change]')) return;
  document.getElementById('upload-setup').classList.add('own-trigger');
  document.querySelector('#upload-trigger :is(input, textarea)')?.focus();
});
"""
"""Script that shows the field of the trigger word in the place of the word itself."""


def render(settings: Settings) -> dict[str, Any]:
    """Create the components, by their names in UploadTab. Call inside a Column."""
    parts: dict[str, Any] = {}
    with gr.Column(elem_id="upload-setup"):
        if settings.zero_gpu:
            panel(
                fill("failure", message=NOT_ON_ZERO_GPU, hint=TRAIN_ELSEWHERE, notes=()),
                elem_id="train-not-here",
            )
        parts |= _render_questions(settings)
        with gr.Accordion("Fine-tuning", open=False, elem_id="upload-settings"):
            parts["saved"] = saved_panel.render()
            parts["form"] = render_form(plan("object", STARTER, 10))
        with gr.Column(elem_id="upload-start"):
            parts["summary"] = panel(fill("summary", parts=[], missing=MISSING), elem_id="upload-summary")
            parts["refused"] = field_refusals.render("upload-refused")
            parts["train"] = gr.Button("Train my LoRA", variant="primary", elem_id="upload-train")
            parts["measured"] = render_measured()
            parts["reasons"] = panel(elem_id="upload-plan")
    return parts


def _render_questions(settings: Settings) -> dict[str, Any]:
    parts: dict[str, Any] = {}
    heading("What do they show?", elem_id="upload-step-2")
    parts["kind"] = gr.Radio(
        [(text, kind) for kind, text in KINDS.items()],
        label="What the pictures show",
        show_label=False,
        container=False,
        elem_id="upload-kind",
    )
    with gr.Group(elem_id="upload-questions"):
        parts["name"] = gr.Textbox(
            label="Name", placeholder="My watercolours", max_lines=1, elem_id="upload-name"
        )
        parts["called"] = panel(fill("called", word=""), elem_id="upload-called", actions=CHANGE_JS)
        parts["trigger"] = gr.Textbox(
            label="You will call it with",
            info=config_leaf("trigger_word").help_text,
            placeholder="made from the name",
            max_lines=1,
            elem_id="upload-trigger",
        )
        parts["base"] = gr.Dropdown(
            base_names(settings),
            value=DEFAULT_BASE,
            label="Base model",
            interactive=True,
            allow_custom_value=takes_hub_ids(settings),
            elem_id="upload-base",
            info="What the training starts from. Larger ones are downloaded at the first use.",
        )
    parts["bases"] = base_cards.render()
    return parts


def start_training(studio: Studio, subject: Sequence[str | None], typed: Mapping[str, Any]) -> str:
    """Queue a training from `UploadTab.subject` and the values of the form's fields by name; returns the
    job's id. A field nobody touched is None. Raises StudioError, with all fields at fault."""
    start = wanted(studio, subject, typed)
    return _in_words_of_the_page(lambda: studio.trainings.start(start)).id


def plan_training(
    studio: Studio, subject: Sequence[str | None], typed: Mapping[str, Any], should_stop: ShouldStop
) -> TrainingEstimate | None:
    """Measure the training that `start_training` would start; a name may come later. Raises StudioError."""
    dataset_id, kind, name, *others = subject
    start = wanted(studio, [dataset_id, kind, name or "Plan", *others], typed)
    config = _in_words_of_the_page(lambda: studio.trainings.config(start))
    return studio.trainings.measure(config, should_stop=should_stop)


def wanted(studio: Studio, subject: Sequence[str | None], typed: Mapping[str, Any]) -> StartTraining:
    """The training that the tab describes, checked. Raises StudioError, with all fields at fault."""
    dataset_id, kind, name, trigger, base = (given or "" for given in subject)
    found = RefusalList()
    with found.at("pictures"):
        if not dataset_id:
            raise DatasetError("There are no pictures yet.", "Drop some in, or take the example pictures.")
        studio.datasets.get(safe_id(dataset_id, "set of pictures"))
    checked_kind = next((one for one in KINDS if one == kind), None)
    if checked_kind is None:
        kinds = "a person, a style, an object or a character"
        with found.at("kind"):
            raise ConfigError(f"Say what the pictures show: {kinds}.")
    with found.at("name"):
        slug_of(name)
    base_here = DEFAULT_BASE
    with found.at("base"):
        base_here = safe_base(base, studio.settings)
    options: dict[str, Any] = {}
    for setting, value in typed.items():
        with found.at():
            options |= overrides({setting: value})
    start = StartTraining(
        dataset_id=dataset_id,
        name=name,
        kind=checked_kind or "object",
        trigger=trigger,
        base=base_here,
        overrides=options,
    )
    if found:
        with found.at():  # what the start itself would refuse, had it come so far
            studio.trainings.folder_config(replace(start, name="Name", trigger=trigger or "x"), "none", 10)
    _in_words_of_the_page(found.raise_all)
    return start


def _in_words_of_the_page(work: Callable[[], R]) -> R:
    """Do `work`. Refusals speak with the page's labels, without the help that stands at the field."""
    try:
        return work()
    except ConfigError as error:
        raise without_shown_help(in_labels(error, {**LABELS, **QUESTION_LABELS})) from error
