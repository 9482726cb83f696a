"""The Upload tab: pictures, a kind, a name; one button starts the training."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr

from lora_studio.catalog import plan
from lora_studio.config import Kind, config_leaf
from lora_studio.data.pixels.thumbnails import thumbnail, thumbnail_folder
from lora_studio.errors import ConfigError, DatasetError, StudioError
from lora_studio.estimate import TrainingEstimate
from lora_studio.events import ShouldStop
from lora_studio.formatting import counted, moment
from lora_studio.lora.names import given_title
from lora_studio.records import DatasetRecord
from lora_studio.settings import CHECKOUT, Settings
from lora_studio.studio import Studio
from lora_studio.training_request import StartTraining
from lora_studio.ui.client_input import deleted_elsewhere
from lora_studio.ui.client_input.base_traits import traits_of
from lora_studio.ui.client_input.validate import (
    base_names,
    guarded,
    quietly,
    safe_base,
    safe_id,
    safe_uploads,
    takes_hub_ids,
)
from lora_studio.ui.widgets.cards import DatasetPicture, dataset_notices, dataset_pictures
from lora_studio.ui.widgets.html_templates import ACTIONS_JS, fill, heading, hidden, panel
from lora_studio.ui.widgets.settings_form import Form, overrides

KINDS: Mapping[Kind, str] = {
    "person": "Person\nOne face: you, a friend",
    "style": "Style\nHow things are drawn",
    "object": "Object\nOne thing: a toy, a product",
    "character": "Character\nA drawn figure, a mascot",
}
PICTURES = [
    *(".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif"),
    *(".heic", ".heif", ".jxl"),
]
"""Endings of pictures, unreadable kinds too: our refusal says what to do, Gradio's own would not."""
FILE_TYPES = [*PICTURES, ".zip", ".txt", ".caption", ".jsonl", ".json", ".csv", ".tsv"]
MOST_SHOWN = 120
DEFAULT_BASE = "starter"
FOLLOWED = ("max_train_steps", "train_batch_size", "network_train_unet_only")
"""Settings that the plan's sentence speaks of."""
FILL = """([own, ours], asked, ...now) => now.map((value, at) => {
  const typed = value && !ours.some((one) => one[at] === value), since = (value || '') !== (asked[at] || '');
  return since || (typed && at) ? value : own[at];
})"""
"""Script that fills in an example's kind, name and trigger where a person typed nothing, before the click or
since. The kind is the pictures' own, so that of other pictures gives way, unless it was chosen since."""
CAPTIONS_JS = """
element.addEventListener('change', (event) => {
  const box = event.target.closest('textarea[data-file]');
  if (box) trigger('submit', {file: box.dataset.file, text: box.value});
});
"""


@dataclass(frozen=True, kw_only=True)
class Example:
    """A set of pictures in `examples/`, with the words that a person would type for it."""

    folder: str
    button: str
    kind: Kind
    name: str
    trigger: str


EXAMPLES = (
    Example(folder="ink", button="Ink drawings (a style)", kind="style", name="Ink drawings", trigger="zwx"),
    Example(folder="alien", button="An alien (an object)", kind="object", name="Alien", trigger="zwx"),
)


@dataclass(frozen=True, kw_only=True)
class UploadTab:
    """The components of the tab."""

    files: gr.File
    examples: tuple[gr.Button, ...]
    pictures: gr.HTML
    notices: gr.HTML
    kind: gr.Radio
    name: gr.Textbox
    trigger: gr.Textbox
    base: gr.Dropdown
    earlier: gr.Dropdown
    plan: gr.HTML
    train: gr.Button
    dataset: gr.Textbox
    asked: gr.JSON
    """Kind, name and trigger at the time when an example was clicked."""

    @property
    def shown(self) -> list[Any]:
        """Components that change with the pictures."""
        return [self.dataset, self.pictures, self.notices]

    @property
    def subject(self) -> list[Any]:
        """Components of a training, in the order of `wanted`."""
        return [self.dataset, self.kind, self.name, self.trigger, self.base]


def render(settings: Settings) -> UploadTab:
    """Create the components. Call inside a Tab."""
    parts: dict[str, Any] = {"dataset": hidden("upload-dataset"), "asked": gr.JSON([], visible=False)}
    with gr.Row(equal_height=False, elem_id="upload-row"):
        with gr.Column(scale=3, min_width=320):
            parts |= _render_pictures()
        with gr.Column(scale=2, min_width=320):
            parts |= _render_questions(settings)
    return UploadTab(**parts)


def _render_pictures() -> dict[str, Any]:
    parts: dict[str, Any] = {}
    heading("1 · Pictures", elem_id="upload-step-1")
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
    parts["notices"] = panel(elem_id="upload-notices")
    parts["pictures"] = panel(
        dataset_pictures(None, []), elem_id="upload-pictures", actions=CAPTIONS_JS + ACTIONS_JS
    )
    return parts


def _render_questions(settings: Settings) -> dict[str, Any]:
    parts: dict[str, Any] = {}
    heading("2 · What do they show?", elem_id="upload-step-2")
    parts["kind"] = gr.Radio(
        [(text, kind) for kind, text in KINDS.items()],
        label="What the pictures show",
        show_label=False,
        container=False,
        elem_id="upload-kind",
    )
    heading("3 · Its name", elem_id="upload-step-3")
    parts["name"] = gr.Textbox(
        label="Name", show_label=False, placeholder="My watercolours", max_lines=1, elem_id="upload-name"
    )
    with gr.Accordion("More choices", open=False, elem_id="upload-more"):
        parts["trigger"] = gr.Textbox(
            label="Trigger word",
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
        parts["earlier"] = gr.Dropdown(
            [], value=None, label="Pictures uploaded before", interactive=True, elem_id="upload-earlier"
        )
    parts["train"] = gr.Button("Train my LoRA", variant="primary", elem_id="upload-train")
    parts["plan"] = panel(elem_id="upload-plan")
    return parts


def listen(tab: UploadTab, form: Form, studio: Studio) -> None:
    """Wire the tab, but for the start of a training, which blocks.py wires to both tabs."""
    private: dict[str, Any] = {"api_visibility": "private"}
    typed = {"name": tab.name, "trigger": tab.trigger, **{name: form.fields[name] for name in FOLLOWED}}
    given = [tab.dataset, tab.kind, tab.base, *typed.values()]
    planning = {"inputs": given, "outputs": [tab.plan, *form.components]}

    def replan(dataset_id: str, kind: str, base: str, *values: Any) -> list[Any]:
        return planned(studio, form, dataset_id, kind, base, dict(zip(typed, values, strict=True)))

    def reword(*values: Any) -> str:
        return str(replan(*values)[0])

    def receive(files: Any, name: str | None) -> list[Any]:
        return received(studio, files, name or "")

    def choose(dataset_id: str | None) -> Any:
        if not dataset_id:  # Escape in the list, or its text removed: no other choice was made
            return gr.skip()
        return shown(studio, studio.datasets.get(safe_id(dataset_id, "set of pictures")))

    def caption(dataset_id: str, event: gr.EventData) -> None:
        change_caption(studio, dataset_id, event)

    quick: dict[str, Any] = {**private, "show_progress": "hidden"}
    tab.files.change(
        guarded(receive), [tab.files, tab.name], tab.shown, show_progress_on=tab.pictures, **private
    ).success(guarded(replan), **planning, **quick)
    tab.earlier.input(guarded(choose), tab.earlier, tab.shown, **quick).success(
        guarded(replan), **planning, **quick
    )

    def undo(event: gr.EventData) -> list[Any]:
        return shown(studio, deleted_elsewhere.undo(studio, getattr(event, "id", None)))

    tab.pictures.submit(guarded(caption), tab.dataset, None, **quick)
    tab.pictures.click(guarded(undo), None, tab.shown, **quick)
    gr.on([tab.kind.change, tab.base.change], guarded(replan), **planning, **quick)
    left: list[Any] = list(typed.values())
    gr.on([field.blur for field in left], quietly(reword, gr.skip), given, tab.plan, **quick)
    for button, example in zip(tab.examples, EXAMPLES, strict=True):
        _listen_example(tab, button, example, studio).success(guarded(replan), **planning, **quick)


def _listen_example(tab: UploadTab, button: gr.Button, example: Example, studio: Studio) -> Any:
    def take_example(*asked: Any) -> list[Any]:
        with studio.turns.take("upload"):
            record = studio.datasets.create(example.name, example_files(example.folder))
        return [*shown(studio, record), list(asked)]

    fields = [tab.kind, tab.name, tab.trigger]
    private: dict[str, Any] = {"api_visibility": "private"}
    taken = button.click(
        guarded(take_example), fields, [*tab.shown, tab.asked], show_progress_on=tab.pictures, **private
    )
    ours = [[one.kind, one.name, one.trigger] for one in EXAMPLES]
    defaults = json.dumps([[example.kind, example.name, example.trigger], ours])
    return taken.success(
        None, [tab.asked, *fields], fields, js=f"(...now) => ({FILL})({defaults}, ...now)", **private
    )


def received(studio: Studio, files: Any, name: str) -> list[Any]:
    """Values for `UploadTab.shown` after an upload. The reason why none of it can be used stays on the
    page."""
    paths = safe_uploads(files, studio.settings)
    if not paths:
        return shown(studio, None)
    try:
        name = given_title(name)
    except ConfigError:
        name = ""  # a set of pictures needs none; the start says what is wrong with the LoRA's
    try:
        with studio.turns.take("upload"):
            record = studio.datasets.create(name, paths)
        return shown(studio, record)
    except StudioError as error:
        empty, pictures, _ = shown(studio, None)
        return [empty, pictures, fill("failure", message=error.message, hint=error.hint, notes=())]


def example_files(folder: str) -> list[Path]:
    files = sorted(path for path in (CHECKOUT / "examples" / folder).glob("*") if path.suffix in FILE_TYPES)
    if not files:
        raise DatasetError(
            "The example pictures are missing.", "Get the whole repository again.", path=folder
        )
    return files


def shown(studio: Studio, record: DatasetRecord | None) -> list[Any]:
    """Values for `UploadTab.shown`."""
    if record is None:
        return ["", dataset_pictures(None, []), ""]

    def small(path: Path) -> str:
        return thumbnail(path, thumbnail_folder(path, studio.settings))

    pictures = [
        DatasetPicture(name=path.name, thumbnail=small(path), caption=caption)
        for path, caption in studio.datasets.pictures(record.id)[:MOST_SHOWN]
    ]
    return [record.id, dataset_pictures(record, pictures), dataset_notices(record)]


def planned(
    studio: Studio,
    form: Form,
    dataset_id: str,
    kind: str,
    base: str,
    typed: Mapping[str, Any] | None = None,
) -> list[Any]:
    """The plan in a sentence, and the planned values as the form's grey texts. `typed` are name and trigger,
    and the settings of FOLLOWED, in their present state."""
    typed = typed or {}
    record = studio.datasets.get(safe_id(dataset_id, "set of pictures")) if dataset_id else None
    known_kind: Any = kind if kind in KINDS else "object"
    traits = traits_of(base or DEFAULT_BASE, studio.settings)
    chosen = {}
    with contextlib.suppress(ConfigError):  # half typed; the start says what is wrong with it
        chosen = overrides({name: typed.get(name) for name in FOLLOWED})
    made = plan(known_kind, traits, record.images if record else 10, chosen)
    if record is None or kind not in KINDS:
        return ["", *form.planned(made)]
    called = _called(studio, record.id, typed.get("name") or "", typed.get("trigger") or "")
    return [fill("plan", sentence=f"{made.reason} {called}".strip()), *form.planned(made)]


def _called(studio: Studio, dataset_id: str, name: str, trigger: str) -> str:
    """A sentence with the trigger word; empty for a name that can't be one."""
    try:
        word = trigger.strip()[:100] or studio.trainings.trigger_for(dataset_id, name)
    except StudioError:
        return ""
    return f"You will call it with “{word}”."


def change_caption(studio: Studio, dataset_id: str, event: gr.EventData) -> None:
    record = studio.datasets.get(safe_id(dataset_id, "set of pictures"))
    name, text = getattr(event, "file", None), getattr(event, "text", None)
    if name not in {path.name for path, _ in studio.datasets.pictures(record.id)} or not isinstance(
        text, str
    ):
        raise DatasetError("That picture is not in this set.", "Reload the page.")
    studio.datasets.set_caption(record.id, name, text[:1000])


def start_training(studio: Studio, subject: Sequence[str | None], options: Mapping[str, Any]) -> str:
    """Queue a training from `UploadTab.subject`; returns the job's id. A field nobody touched is None. Raises
    StudioError with the missing field."""
    return studio.trainings.start(wanted(studio, subject, options)).id


def plan_training(
    studio: Studio, subject: Sequence[str | None], options: Mapping[str, Any], should_stop: ShouldStop
) -> TrainingEstimate | None:
    """Measure the training that `start_training` would start; a name may come later. Raises StudioError."""
    start = wanted(studio, subject, options)
    config = studio.trainings.config(replace(start, name=start.name or "Plan"))
    return studio.trainings.measure(config, should_stop=should_stop)


def wanted(studio: Studio, subject: Sequence[str | None], options: Mapping[str, Any]) -> StartTraining:
    """The training that the tab describes, checked. Raises StudioError with the missing field."""
    dataset_id, kind, name, trigger, base = (given or "" for given in subject)
    if not dataset_id:
        raise DatasetError("There are no pictures yet.", "Drop some in step 1, or take the example pictures.")
    checked_kind = next((one for one in KINDS if one == kind), None)
    if checked_kind is None:
        raise ConfigError(
            "Say what the pictures show: a person, a style, an object or a character.", field="kind"
        )
    return StartTraining(
        dataset_id=safe_id(dataset_id, "set of pictures"),
        name=name,
        kind=checked_kind,
        trigger=trigger,
        base=safe_base(base, studio.settings),
        overrides=options,
    )


def on_load(studio: Studio, kept: Any = None) -> list[Any]:
    """Values for `UploadTab.shown` and the choice of earlier pictures after opening or reloading the page:
    those that the browser kept (a set's id), else the newest that wait for their training."""
    records = sorted(studio.datasets.datasets(), key=lambda record: -record.created_at)
    used = {str(job.config.get("dataset", {}).get("train_data_dir")) for job in studio.jobs.jobs(limit=200)}
    newest = next((record for record in records[:1] if record.path not in used), None)
    draft = next((record for record in records if record.id == kept), newest)
    choices = gr.update(choices=earlier_choices(records))
    try:
        return [*shown(studio, draft), choices]
    except StudioError:
        return [*shown(studio, None), choices]


def earlier_choices(records: Sequence[DatasetRecord]) -> list[tuple[str, str]]:
    """(name to show, id) of each set; the newest fifty."""
    return [
        (f"{record.name} ({counted(record.images, 'picture')}, {moment(record.created_at)})", record.id)
        for record in records[:50]
    ]
