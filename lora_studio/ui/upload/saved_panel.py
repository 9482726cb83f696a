"""The part of the fine-tuning that keeps settings: under names of the visitor's own, and in files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from lora_studio.catalog import plan
from lora_studio.config import Kind
from lora_studio.errors import ConfigError
from lora_studio.kohya_config.settings_file import read_settings_file
from lora_studio.lora.names import given_title
from lora_studio.parsing.plain_text import plain_text
from lora_studio.store.people.saved_settings import SavedSettings, SavedSettingsShelf
from lora_studio.studio import Studio
from lora_studio.ui.client_input.base_traits import traits_of
from lora_studio.ui.client_input.field_refusals import FieldPlace, FieldRefusals
from lora_studio.ui.client_input.validate import QUICK, guarded, quietly, safe_id, safe_uploads
from lora_studio.ui.upload import settings_files
from lora_studio.ui.upload.settings_files import Filling
from lora_studio.ui.upload.setup_places import DRAWER, place_of
from lora_studio.ui.upload.training_summary import DEFAULT_BASE
from lora_studio.ui.widgets.html_templates import ACTIONS_JS, fill, panel
from lora_studio.ui.widgets.settings_form import Form

FILES = [".toml", ".json"]
FOLDS = (DRAWER, "train-kept")
TITLE = FieldPlace(element="train-saved-title", label="Name of these settings", folds=FOLDS)
PLACES = {
    **dict.fromkeys(("title", "name"), TITLE),
    "saved": FieldPlace(element="train-saved", label="Your settings", folds=FOLDS),
}


@dataclass(frozen=True, kw_only=True)
class SavedParts:
    """The components."""

    saved: gr.Dropdown
    title: gr.Textbox
    keep: gr.Button
    rename: gr.Button
    delete: gr.Button
    file: gr.UploadButton
    toml: gr.Button
    json: gr.Button
    report: gr.HTML


def render() -> SavedParts:
    """Create the components. Call inside the fine-tuning."""
    parts: dict[str, Any] = {}
    with gr.Accordion("Keep settings, or take them from a file", open=False, elem_id="train-kept"):
        parts["saved"] = gr.Dropdown(
            [],
            value=None,
            label="Your settings",
            info="What you kept under a name; choosing one fills the fields in.",
            interactive=True,
            elem_id="train-saved",
            elem_classes="notranslate",
        )
        parts["title"] = gr.Textbox(
            label="Name of these settings",
            placeholder="Faces, slowly",
            max_lines=1,
            elem_id="train-saved-title",
        )
        with gr.Row():
            parts["keep"] = _button("Keep these", "train-saved-keep")
            parts["rename"] = _button("Rename", "train-saved-rename")
            parts["delete"] = _button("Delete", "train-saved-delete")
        with gr.Row():
            parts["file"] = gr.UploadButton(
                "Open a file", file_types=FILES, size="sm", min_width=110, elem_id="train-kept-open"
            )
            parts["toml"] = _button("File for sd-scripts", "train-kept-toml")
            parts["json"] = _button("File for kohya_ss", "train-kept-json")
        parts["report"] = panel(elem_id="train-kept-report", actions=ACTIONS_JS)
    return SavedParts(**parts)


def _button(text: str, elem_id: str) -> gr.Button:
    return gr.Button(text, size="sm", min_width=90, elem_id=elem_id)


@dataclass(frozen=True, kw_only=True)
class SavedActions:
    """Handlers of the page's events. `asked` are the questions' values, then the form's, as sent."""

    studio: Studio
    form: Form
    questions: int

    @property
    def shelf(self) -> SavedSettingsShelf:
        return SavedSettingsShelf(self.studio.database)

    def list_settings(self) -> dict[str, Any]:
        return self._choices(None)

    def keep_settings(self, _: gr.Request, title: str, *asked: Any) -> list[Any]:
        subject, typed = self._parted(asked)
        given = {name: str(value) for name, value in typed.items() if settings_files.is_typed(value)}
        if not given:
            raise ConfigError(
                "No setting is typed: there is nothing to keep.", "Change some below first.", field="title"
            )
        record = self.shelf.save(given_title(title), given, str(subject[-1] or ""))
        changes = settings_files.read_differences(Filling(typed=given), self._planned(subject))
        return [self._choices(record), record.title, _report(f"“{record.title}” is kept.", changes=changes)]

    def load_settings(self, key: str | None, *asked: Any) -> list[Any]:
        subject, _ = self._parted(asked)
        if not key:
            return [gr.skip()] * (3 + len(self.form.names))
        record = self.shelf.get(safe_id(key, "settings"))
        notes: list[str] = []
        base = settings_files.base_here(record.base, self.studio.settings, notes)
        filling = Filling(typed=record.values, base=base, notes=tuple(notes))
        return [record.title, *self._filled(f"“{record.title}” is filled in.", filling, subject)]

    def rename_settings(self, _: gr.Request, key: str | None, title: str) -> list[Any]:
        record = self.shelf.rename(_chosen(key), given_title(title))
        return [self._choices(record), record.title, _report(f"They are called “{record.title}” now.")]

    def delete_settings(self, _: gr.Request, key: str | None) -> list[Any]:
        record = self.shelf.delete(_chosen(key))
        return [self._choices(None), "", _report(f"“{record.title}” is deleted.", token=record.id)]

    def undo_settings(self, event: gr.EventData) -> list[Any]:
        record = self.shelf.undo(safe_id(getattr(event, "id", None), "settings"))
        return [self._choices(record), record.title, _report(f"“{record.title}” is back.")]

    def open_settings(self, file: Any, *asked: Any) -> list[Any]:
        subject, _ = self._parted(asked)
        paths = safe_uploads(file, self.studio.settings)
        if not paths:
            return [gr.skip()] * (2 + len(self.form.names))
        name = plain_text(Path(paths[0]).name, 60)
        options = read_settings_file(paths[0], name)
        planned = self._planned(subject)
        filling = settings_files.filling_of(options, planned, self._images(subject), self.studio.settings)
        return self._filled(f"The settings of {name} are filled in.", filling, subject)

    def write_toml(self, _: gr.Request, *asked: Any) -> str:
        files = settings_files.sd_scripts_files(self._config(asked))
        return _written(
            files, "sd-scripts reads the first file, which names the others. Pictures go into “pictures”."
        )

    def write_json(self, _: gr.Request, *asked: Any) -> str:
        subject, _typed = self._parted(asked)
        family = traits_of(str(subject[-1] or DEFAULT_BASE), self.studio.settings).family
        files = settings_files.gui_file(self._config(asked), family)
        return _written(files, "The GUI opens it on its LoRA tab; say there where your pictures are.")

    def _config(self, asked: Sequence[Any]) -> Any:
        return settings_files.file_config(self.studio, *self._parted(asked))

    def _filled(self, headline: str, filling: Filling, subject: Sequence[Any]) -> list[Any]:
        """The report, the base, and the form's fields."""
        changes = settings_files.read_differences(filling, self._planned(subject))
        fields = self.form.filled(filling.typed)
        report = _report(headline, notes=filling.notes, changes=changes)
        return [report, filling.base or gr.skip(), *fields]

    def _parted(self, asked: Sequence[Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:
        typed = dict(zip(self.form.names, asked[self.questions :], strict=True))
        return asked[: self.questions], typed

    def _planned(self, subject: Sequence[Any]) -> Mapping[str, Any]:
        """The values that empty fields stand for."""
        kind: Kind = next((one for one in settings_files.KINDS if one == subject[1]), "object")
        traits = traits_of(str(subject[-1] or DEFAULT_BASE), self.studio.settings)
        return plan(kind, traits, self._images(subject) or 10).values

    def _images(self, subject: Sequence[Any]) -> int:
        dataset_id = subject[0]
        return self.studio.datasets.get(safe_id(dataset_id, "set of pictures")).images if dataset_id else 0

    def _choices(self, chosen: SavedSettings | None) -> dict[str, Any]:
        choices = [(one.title, one.id) for one in self.shelf.all()]
        return gr.update(choices=choices, value=chosen.id if chosen else None)


def _chosen(key: str | None) -> str:
    if not key:
        raise ConfigError("No settings are chosen.", "Choose some in the list first.", field="saved")
    return safe_id(key, "settings")


def _report(
    headline: str,
    *,
    notes: Sequence[str] = (),
    changes: Sequence[str] = (),
    files: Sequence[tuple[str, str]] = (),
    token: str = "",
) -> str:
    facts = {"notes": notes, "changes": changes, "files": files, "token": token}
    return fill("settings_report", headline=headline, **facts)


def _written(files: Mapping[str, str], headline: str) -> str:
    links = [(name, settings_files.data_link(text)) for name, text in files.items()]
    return _report(headline, files=links)


def listen(
    page: gr.Blocks, parts: SavedParts, asked: list[Any], form: Form, refused: gr.HTML, studio: Studio
) -> None:
    """Wire the components; `asked` are the questions' components, then the form's, and `refused` says which
    fields are at fault. Whose settings are listed is known when the page opens."""
    refusals = FieldRefusals(_place_of)
    act = SavedActions(studio=studio, form=form, questions=len(asked) - len(form.names))
    named, base = [parts.saved, parts.title, parts.report], asked[act.questions - 1]
    filled = [parts.report, base, *form.components]
    page.load(quietly(act.list_settings, gr.skip), None, parts.saved, queue=False, **QUICK)
    clicks = [
        parts.keep.click(refusals.guarded(act.keep_settings), [parts.title, *asked], named, **QUICK),
        parts.rename.click(refusals.guarded(act.rename_settings), [parts.saved, parts.title], named, **QUICK),
        parts.delete.click(refusals.guarded(act.delete_settings), parts.saved, named, **QUICK),
        parts.toml.click(refusals.guarded(act.write_toml), asked, parts.report, **QUICK),
        parts.json.click(refusals.guarded(act.write_json), asked, parts.report, **QUICK),
    ]
    for click in clicks:
        refusals.listen(click, refused)
    parts.saved.input(guarded(act.load_settings), [parts.saved, *asked], [parts.title, *filled], **QUICK)
    parts.file.upload(guarded(act.open_settings), [parts.file, *asked], filled, **QUICK)
    parts.report.click(guarded(act.undo_settings), None, named, **QUICK)


def _place_of(error: ConfigError) -> FieldPlace | None:
    return PLACES.get(error.field) or place_of(error)
