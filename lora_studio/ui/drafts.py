"""Drafts: unsaved input outlives a reload. The browser keeps it (`page.js`), and here it is checked and put
back. Drafts are a stranger's words: only values that a field could hold are taken, and only by the person who
typed them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from lora_studio.access.visitor import visitor
from lora_studio.errors import StudioError
from lora_studio.records import LoraRecord
from lora_studio.request import LONGEST_PROMPT
from lora_studio.studio import Studio
from lora_studio.ui.client_input.picture_input import SUM
from lora_studio.ui.client_input.validate import QUICK, quietly, safe_base
from lora_studio.ui.generate.generate_requests import (
    SLOTS,
    TEXT_WEIGHTS,
    WEIGHTS,
    lora_choices,
    sampler_box,
    stacked,
)
from lora_studio.ui.generate.generate_tab import GenerateTab
from lora_studio.ui.generate.img2img import easel
from lora_studio.ui.page_address import named_loras
from lora_studio.ui.upload import picture_set, upload_tab
from lora_studio.ui.upload.upload_tab import UploadTab
from lora_studio.ui.widgets.settings_form import Form

UPLOAD, TRAIN, GENERATE = "upload", "train", "generate"
TRAINING = (UPLOAD, TRAIN)
"""The groups that a started training has used."""
SKIP: Any = gr.skip()


@dataclass(frozen=True, kw_only=True)
class Drafts:
    """The fields whose input the browser keeps, and `kept`, which brings a draft and takes whose it is."""

    upload: UploadTab
    form: Form
    generate: GenerateTab
    kept: gr.JSON

    @property
    def groups(self) -> Mapping[str, Mapping[str, Any]]:
        """The kept fields by group and name."""
        upload = self.upload
        asked = {"kind": upload.kind, "name": upload.name, "trigger": upload.trigger, "base": upload.base}
        return {
            UPLOAD: {**asked, "dataset": upload.dataset},
            TRAIN: self.form.fields,
            GENERATE: self.generate.fields,
        }

    @property
    def outputs(self) -> list[Any]:
        """Components in the order of `restored`."""
        upload = self.upload
        asked = [upload.kind, upload.name, upload.trigger, upload.base]
        return [
            self.kept,
            *asked,
            *upload.shown,
            upload.earlier,
            *self.form.components,
            *self.generate.filled,
        ]

    def restored(self, draft: Any, studio: Studio) -> list[Any]:
        """Values for `outputs` from the browser's draft; gr.skip() for fields without a fitting one. LoRAs
        that the page's address names, under `addressed`, come before the draft's, whoever typed that."""
        person = visitor().name
        typed = draft if isinstance(draft, dict) and (draft.get("owner") or "") == person else {}
        kept = {name: _group(typed, name) for name in self.groups}
        asked = [
            _fitting(field, kept[UPLOAD].get(name), studio)
            for name, field in self.groups[UPLOAD].items()
            if name != "dataset"
        ]
        trained = [_fitting(field, kept[TRAIN].get(name), studio) for name, field in self.form.fields.items()]
        pictures = picture_set.on_load(studio, kept[UPLOAD].get("dataset"))
        drawing = self._drawing(kept[GENERATE], studio)
        if named := named_loras(draft.get("addressed") if isinstance(draft, dict) else ""):
            records = studio.gallery.loras()
            here = {record.slug for record in records}
            drawing |= stacked([use for use in named if use.slug in here], records)
        return [
            {"owner": person},
            *asked,
            *pictures,
            *trained,
            *self.generate.filling(drawing),
        ]

    def _drawing(self, kept: Mapping[str, Any], studio: Studio) -> dict[str, Any]:
        fields = self.generate.fields
        filling = {
            name: _fitting(fields[name], value, studio) for name, value in kept.items() if name in fields
        }
        if isinstance(base := filling.get("base"), str):
            filling["sampler"] = sampler_box(base, str(kept.get("sampler") or ""), studio.settings)
        sums = {name: _sum(kept.get(name)) for name in ("image", "mask_image")}
        shown = easel(sums["image"], sums["mask_image"], studio.settings)
        if not shown:
            sums = {"image": "", "mask_image": ""}
        return {**filling, **_stack(kept, studio.gallery.loras()), **sums, "canvas": shown}


def _group(draft: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = draft.get(name)
    return found if isinstance(found, dict) else {}


def _sum(value: Any) -> str:
    return value if isinstance(value, str) and SUM.fullmatch(value) else ""


def _stack(kept: Mapping[str, Any], records: list[LoraRecord]) -> dict[str, Any]:
    """The LoRAs of a draft that are still here, each with its weights."""
    given, here = kept.get("loras"), {record.slug for record in records}
    slugs = given[:SLOTS] if isinstance(given, list) else []
    uses = [(slot, slug) for slot, slug in enumerate(slugs) if isinstance(slug, str) and slug in here]
    chosen = [slug for _, slug in uses]
    filling: dict[str, Any] = {"order": chosen}
    filling["loras"] = gr.update(choices=lora_choices(records), value=chosen)
    for place, (slot, _) in enumerate(uses):
        filling[WEIGHTS[place]] = kept.get(WEIGHTS[slot], 1)
        filling[TEXT_WEIGHTS[place]] = kept.get(TEXT_WEIGHTS[slot], "")
    return filling


def _fitting(field: Any, value: Any, studio: Studio) -> Any:
    """The value if the field can hold it, else gr.skip()."""
    if isinstance(field, gr.Textbox):
        return value if isinstance(value, str) and len(value) <= LONGEST_PROMPT else SKIP
    if isinstance(field, gr.Checkbox):
        return value if isinstance(value, bool) else SKIP
    if isinstance(field, gr.Slider):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return value if number and field.minimum <= value <= field.maximum else SKIP
    if value in [choice for _, choice in field.choices or ()]:
        return value
    if isinstance(field, gr.Dropdown) and field.allow_custom_value:
        try:
            return safe_base(value, studio.settings)
        except StudioError:
            return SKIP
    return SKIP


def render() -> gr.JSON:
    return gr.JSON(visible=False, elem_id="draft")


def listen(page: gr.Blocks, drafts: Drafts, studio: Studio) -> None:
    """Put the draft back when the page opens, then keep input as it is typed."""

    def restore(draft: Any) -> list[Any]:
        return drafts.restored(draft, studio)

    nothing = [SKIP] * len(drafts.outputs)
    restored = page.load(
        quietly(restore, lambda: nothing),
        drafts.kept,
        drafts.outputs,
        js="() => [studio.read()]",
        queue=False,
        **QUICK,
    )
    drafts.generate.follow(restored, studio)
    settle = f"(kept) => {{ studio.settle({json.dumps(_boxes(drafts))}, kept?.owner); }}"
    restored.then(None, drafts.kept, js=settle, **QUICK)
    upload_tab.follow(restored, drafts.upload, studio)
    for group, fields in drafts.groups.items():
        heard = [field.change for field in fields.values() if field.visible]
        gr.on(heard, None, list(fields.values()), js=_call("keep", group, fields), **QUICK)


def _boxes(drafts: Drafts) -> dict[str, list[str]]:
    """Group and name of each text field, by the id of its element."""
    return {
        str(field.elem_id): [group, name]
        for group, fields in drafts.groups.items()
        for name, field in fields.items()
        if isinstance(field, gr.Textbox) and field.visible
    }


def _call(action: str, group: str, fields: Mapping[str, Any]) -> str:
    names = json.dumps([group, list(fields)])
    return f"(...values) => {{ studio.{action}(...{names}, values); }}"


def used(started: Any, drafts: Drafts) -> None:
    """Drop the draft of a training after the event that started it."""
    for group in TRAINING:
        fields = drafts.groups[group]
        started.success(
            None, list(fields.values()), js=_call("finish", group, fields), api_visibility="private"
        )
