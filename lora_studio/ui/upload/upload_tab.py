"""The Upload tab, where a training is set up, whole: its pictures, what they show, a name, and the start."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from lora_studio.estimate import TrainingEstimate
from lora_studio.events import ShouldStop
from lora_studio.settings import Settings
from lora_studio.studio import Studio
from lora_studio.ui.checks import check_card
from lora_studio.ui.checks.check_card import CheckParts
from lora_studio.ui.checks.check_subject import CHECKED, CheckSubjects
from lora_studio.ui.client_input.field_refusals import FieldRefusals
from lora_studio.ui.client_input.validate import PRIVATE, QUICK, guarded, quietly
from lora_studio.ui.picture_sets import bucket_frame, captioning_panel
from lora_studio.ui.upload import (
    base_cards,
    caption_panel,
    estimate_panel,
    picture_intake,
    picture_set,
    setup_panel,
)
from lora_studio.ui.upload.base_cards import BaseParts
from lora_studio.ui.upload.caption_panel import CaptionParts
from lora_studio.ui.upload.estimate_panel import PlanParts
from lora_studio.ui.upload.example_pictures import EXAMPLES, Example, example_files
from lora_studio.ui.upload.picture_actions import EDITS_JS, PICTURES_JS, SetActions
from lora_studio.ui.upload.picture_intake import IntakeParts
from lora_studio.ui.upload.picture_set import FILE_TYPES
from lora_studio.ui.upload.saved_panel import SavedParts
from lora_studio.ui.upload.setup_panel import KINDS, plan_training, start_training
from lora_studio.ui.upload.setup_places import place_of
from lora_studio.ui.upload.training_summary import FOLLOWED, Subject, Summary, measured_facts, summary
from lora_studio.ui.widgets.cards import dataset_pictures
from lora_studio.ui.widgets.html_templates import fill, heading, hidden, panel
from lora_studio.ui.widgets.settings_form import Form, search_results

AGAIN_JS = Path(__file__).with_name("again.js").read_text("utf-8")
TYPING: dict[str, Any] = {**QUICK, "queue": False, "trigger_mode": "always_last"}
"""Options of events while somebody types: the last state is looked at, and no connection is kept."""


@dataclass(frozen=True, kw_only=True)
class UploadTab:
    """The components of the tab."""

    files: gr.File
    stop: gr.Button
    examples: tuple[gr.Button, ...]
    pictures: gr.HTML
    buckets: gr.HTML
    notices: gr.HTML
    edits: gr.HTML
    check: CheckParts
    captions: CaptionParts
    kind: gr.Radio
    name: gr.Textbox
    called: gr.HTML
    trigger: gr.Textbox
    base: gr.Dropdown
    bases: BaseParts
    earlier: gr.Dropdown
    form: Form
    saved: SavedParts
    summary: gr.HTML
    train: gr.Button
    refused: gr.HTML
    """The list of the fields that are at fault."""
    refusals: FieldRefusals
    measured: PlanParts
    reasons: gr.HTML
    dataset: gr.Textbox
    again: gr.HTML
    """A note on the training that this one is set up like."""
    asked: gr.JSON
    """Kind, name and trigger at the time when an example was clicked."""
    facts: gr.JSON
    """Figures of the last measurement, for the summary."""

    @property
    def shown(self) -> list[Any]:
        """Components that change with the pictures."""
        return [self.dataset, self.pictures, self.notices, self.edits]

    @property
    def subject(self) -> list[Any]:
        """Components of a training, in the order of `wanted`."""
        return [self.dataset, self.kind, self.name, self.trigger, self.base]

    @property
    def whole(self) -> list[Any]:
        """Components of a training with all its settings, in the order of `started`."""
        return [*self.subject, *self.form.components]

    def started(self, studio: Studio, values: Sequence[Any]) -> str:
        """Queue the training of the values of `whole`; returns the job's id. Raises StudioError."""
        return start_training(studio, *self._asked(values))

    def estimated(
        self, studio: Studio, values: Sequence[Any], should_stop: ShouldStop
    ) -> tuple[TrainingEstimate | None, Mapping[str, Any]]:
        """Measure the training of `whole`'s values; the estimate, and what is kept. Raises StudioError."""
        subject, typed = self._asked(values)
        estimate = plan_training(studio, subject, typed, should_stop)
        return estimate, measured_facts(estimate, subject_of([*subject, None, *map(typed.get, FOLLOWED)]))

    def _asked(self, values: Sequence[Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """The values of `subject`, and those of the form by the settings' names."""
        given = len(self.subject)
        return values[:given], dict(zip(self.form.names, values[given:], strict=True))

    @property
    def checked(self) -> list[Any]:
        """Components of what the pictures are checked for, in the order of `CheckSubjects.request`."""
        return [*self.subject, *(self.form.fields[name] for name in CHECKED)]

    @property
    def followed(self) -> list[Any]:
        """Components that the summary speaks of, in the order of `subject_of`."""
        return [*self.subject, self.facts, *(self.form.fields[name] for name in FOLLOWED)]

    @property
    def summaries(self) -> list[Any]:
        """Components that show the summary."""
        return [self.summary, self.called, self.reasons]


def render(settings: Settings) -> UploadTab:
    """Create the components. Call inside a Tab."""
    parts: dict[str, Any] = {
        "dataset": hidden("upload-dataset"),
        "asked": gr.JSON([], visible=False),
        "facts": gr.JSON({}, visible=False),
    }
    with gr.Row(equal_height=False, elem_id="upload-row"):
        with gr.Column(scale=3, min_width=320, elem_id="upload-left"):
            parts |= _render_pictures()
        with gr.Column(scale=2, min_width=320, elem_id="upload-right"):
            parts["again"] = panel(elem_id="upload-again", actions=AGAIN_JS)
            parts |= setup_panel.render(settings)
    return UploadTab(**parts, refusals=FieldRefusals(place_of))


def _render_pictures() -> dict[str, Any]:
    parts: dict[str, Any] = {}
    heading("Pictures", elem_id="upload-step-1")
    parts["files"] = gr.File(
        file_count="multiple",
        file_types=FILE_TYPES,
        label="Pictures or a ZIP",
        show_label=False,
        height=150,
        elem_id="upload-files",
    )
    with gr.Row(elem_id="upload-examples"):
        panel(fill("examples"), elem_id="upload-examples-text")
        parts["examples"] = tuple(
            gr.Button(example.button, size="sm", elem_id=f"upload-example-{example.folder}", min_width=120)
            for example in EXAMPLES
        )
    parts["earlier"] = gr.Dropdown(
        [],
        value=None,
        label="Pictures uploaded before",
        interactive=True,
        visible=False,
        elem_id="upload-earlier",
        elem_classes="notranslate",
    )
    parts["stop"] = picture_intake.render_stop()
    parts["notices"] = panel(elem_id="upload-notices")
    parts["edits"] = panel(elem_id="upload-edits", actions=EDITS_JS)
    parts["check"] = check_card.render()
    parts["captions"] = caption_panel.render()
    parts["buckets"] = bucket_frame.render()
    parts["pictures"] = panel(dataset_pictures(None, []), elem_id="upload-pictures", actions=PICTURES_JS)
    return parts


def listen(tab: UploadTab, studio: Studio) -> None:
    """Wire the tab, but for the start of a training, which blocks.py wires."""
    form = tab.form

    def replan(*values: Any) -> list[Any]:
        return form.planned(summary_of(studio, values).plan)

    def reword(*values: Any) -> list[Any]:
        return shown_summary(summary_of(studio, values))

    def plan_by(listener: Callable[..., Any]) -> None:
        """Plan after an event. What was typed meanwhile is newer than what the plan was made of, so the
        summary comes after it, by the values of then."""
        follow(listener(guarded(replan), tab.followed, form.components, **QUICK), tab, studio)

    for changed in _listen_set(tab, studio):
        plan_by(changed.success)
    for button, example in zip(tab.examples, EXAMPLES, strict=True):
        plan_by(_listen_example(tab, button, example, studio).success)
    plan_by(partial(gr.on, [tab.kind.change, tab.base.change]))
    nothing = [gr.skip()] * len(tab.summaries)
    typed: list[Any] = [tab.name, tab.trigger, *(form.fields[name] for name in FOLLOWED)]
    gr.on(
        [field.change for field in typed],
        quietly(reword, lambda: nothing),
        tab.followed,
        tab.summaries,
        **TYPING,
    )
    plan_by(form.reset.click(lambda: form.emptied(), None, form.components, **QUICK).then)
    measured = estimate_panel.listen(
        tab.measured,
        tab.whole,
        lambda values, should_stop: tab.estimated(studio, values, should_stop),
        tab.facts,
        tab.refusals.guarded,
    )
    tab.refusals.listen(measured, tab.refused)
    measured.success(guarded(reword), tab.followed, tab.summaries, **QUICK)
    check_card.listen(tab.check, tab.checked, CheckSubjects(studio).request, studio)
    base_cards.listen(tab.bases, tab.base, studio.settings)
    form.search.change(quietly(search_results, gr.skip), form.search, form.found, **TYPING)


def follow(event: Any, tab: UploadTab, studio: Studio) -> None:
    """Bring the summary up to date after an event that filled the tab in."""
    nothing = [gr.skip()] * len(tab.summaries)
    event.then(
        quietly(lambda *values: shown_summary(summary_of(studio, values)), lambda: nothing),
        tab.followed,
        tab.summaries,
        queue=False,
        **QUICK,
    )


def _listen_set(tab: UploadTab, studio: Studio) -> list[Any]:
    """Wire the pictures; what changes them is returned."""
    actions = SetActions(studio=studio)
    resolution: Any = tab.form.fields["resolution"]
    pictures, outputs, size = tab.pictures, tab.shown, [tab.base, resolution]
    given = [tab.dataset, *size]
    intake = IntakeParts(files=tab.files, stop=tab.stop, shown=outputs, given=[*given, tab.name])
    pictures.submit(guarded(actions.caption), tab.dataset, tab.edits, **QUICK)
    ordered = [pictures.expand, tab.check.card.select]
    gr.on(ordered, guarded(actions.expand), given, outputs, show_progress_on=pictures, **PRIVATE)
    changes = [
        picture_intake.listen(intake, actions, studio, pictures),
        caption_panel.listen(tab.captions, actions, given, outputs),
        captioning_panel.listen(tab.captions.captioning, studio, pictures, given, outputs, actions.choose),
        tab.earlier.input(guarded(actions.choose), [tab.earlier, *size], outputs, **QUICK),
        pictures.delete(guarded(actions.delete), given, outputs, **QUICK),
        pictures.edit(guarded(actions.edit), given, outputs, **QUICK),
        tab.edits.click(guarded(actions.edit), given, outputs, **QUICK),
        tab.check.card.apply(guarded(actions.apply_fixes), given, outputs, **QUICK),
        tab.check.card.edit(guarded(actions.edit), given, outputs, **QUICK),
        pictures.undo(guarded(actions.act), size, outputs, **QUICK),
        pictures.clear(guarded(actions.leave), None, outputs, **QUICK),
    ]
    framed = [tab.base, tab.kind, *(tab.form.fields[name] for name in bucket_frame.BUCKETED)]
    bucket_frame.listen(pictures, tab.buckets, framed, studio.settings)
    gr.on([tab.base.input, resolution.blur], quietly(actions.mark_small, gr.skip), given, pictures, **QUICK)
    return changes


def _listen_example(tab: UploadTab, button: gr.Button, example: Example, studio: Studio) -> Any:
    def take_example(*asked: Any) -> list[Any]:
        with studio.turns.take("upload"):
            record = studio.datasets.create(example.name, example_files(example.folder))
        return [*picture_set.shown(studio, record), list(asked)]

    fields = [tab.kind, tab.name, tab.trigger]
    taken = button.click(
        guarded(take_example), fields, [*tab.shown, tab.asked], show_progress_on=tab.pictures, **PRIVATE
    )
    return taken.success(None, [tab.asked, *fields], fields, js=example.fill_js, **PRIVATE)


def subject_of(values: Sequence[Any]) -> Subject:
    """The training that the tab describes, from the values of `UploadTab.followed`."""
    dataset_id, kind, name, trigger, base, measured, *settings = values
    return Subject(
        dataset_id=str(dataset_id or ""),
        kind=str(kind or ""),
        name=str(name or ""),
        trigger=str(trigger or ""),
        base=str(base or ""),
        measured=measured,
        typed=dict(zip(FOLLOWED, settings, strict=True)),
    )


def summary_of(studio: Studio, values: Sequence[Any]) -> Summary:
    """The summary of the values of `UploadTab.followed`."""
    return summary(studio, subject_of(values), list(KINDS))


def shown_summary(found: Summary) -> list[str]:
    """Values of `UploadTab.summaries`."""
    return [found.line, found.called, found.reasons]
