"""The Gallery's look into LoRA files: the report on the chosen LoRA or on a file that is sent; repairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from lora_studio.errors import StoreError
from lora_studio.lora.file.spellings import SPELLINGS
from lora_studio.lora.inspection.lora_report import LoraReport
from lora_studio.lora.inspection.report_facts import block_rows, fact_lines
from lora_studio.lora.repair.repair_request import ALPHAS, METHODS, PRECISIONS, RepairRequest
from lora_studio.settings import Settings
from lora_studio.studio import Studio
from lora_studio.ui.client_input.validate import (
    PRIVATE,
    as_words,
    base_names,
    chosen_lora,
    guarded,
    safe_base,
    safe_slug,
    safe_uploads,
    text,
)
from lora_studio.ui.gallery import repair_progress
from lora_studio.ui.widgets.html_templates import fill, panel

AS_IT_IS = "as it is"
AT_ONCE = 4
"""Repairs that people may wait for; they are made one after the other."""
LABELS: Mapping[str, str] = {
    "spelling": "Names of layers",
    "save_precision": "Number format",
    "alpha": "Alpha",
    "dynamic_method": "dynamic_method: a rank for each layer",
    "new_rank": "new_rank (0: as it is)",
    "dynamic_param": "dynamic_param",
    "strip_private": "Leave out private metadata",
    "drop_broken": "Leave out broken layers",
}
"""Labels of the repairs' fields, by their names in a RepairRequest."""
NO_BASE = ("without a base", "")


@dataclass(frozen=True, kw_only=True)
class InspectParts:
    """The components. `fields` are those of the repair, by their names in a RepairRequest."""

    base: gr.Dropdown
    go: gr.Button
    file: gr.UploadButton
    report: gr.HTML
    fields: dict[str, Any]
    title: gr.Textbox
    repair: gr.Button
    others: gr.Textbox
    progress: gr.HTML


def render(settings: Settings) -> InspectParts:
    """Create the components. Call in the column of a LoRA's details."""
    progress = repair_progress.render()
    with gr.Accordion("Inspect and repair", open=False, elem_id="gallery-inspect"):
        base = gr.Dropdown(
            [NO_BASE, *base_names(settings)],
            value="",
            label="Measure on a base",
            elem_id="gallery-inspect-base",
        )
        with gr.Row():
            go = gr.Button("Inspect", min_width=120, elem_id="gallery-inspect-go")
            file = gr.UploadButton(
                "Inspect a file",
                file_types=[".safetensors"],
                min_width=120,
                elem_id="gallery-inspect-file",
            )
        report = panel(elem_id="gallery-inspect-report")
        with gr.Group(elem_id="gallery-repair"):
            fields, others = _render_fields()
            title = gr.Textbox(
                label="Name of the new LoRA",
                placeholder="the old name, repaired",
                max_lines=1,
                elem_id="gallery-repair-title",
            )
        repair = gr.Button("Make a repaired copy", elem_id="gallery-repair-go")
    return InspectParts(
        base=base,
        go=go,
        file=file,
        report=report,
        fields=fields,
        title=title,
        repair=repair,
        others=others,
        progress=progress,
    )


def _render_fields() -> tuple[dict[str, Any], gr.Textbox]:
    def choice(name: str, values: tuple[str, ...]) -> gr.Radio:
        shown = [(AS_IT_IS, ""), *((value, value) for value in values)]
        return gr.Radio(shown, value="", label=LABELS[name], elem_id=f"gallery-repair-{name}")

    def switch(name: str) -> gr.Checkbox:
        return gr.Checkbox(False, label=LABELS[name], elem_id=f"gallery-repair-{name}")

    fields: dict[str, Any] = {
        "spelling": choice("spelling", SPELLINGS),
        "save_precision": choice("save_precision", PRECISIONS),
        "alpha": choice("alpha", ALPHAS),
        "dynamic_method": choice("dynamic_method", METHODS),
    }
    with gr.Row():
        fields["new_rank"] = gr.Number(
            value=0,
            precision=0,
            minimum=0,
            label=LABELS["new_rank"],
            min_width=140,
            elem_id="gallery-repair-new_rank",
        )
        fields["dynamic_param"] = gr.Number(
            value=0,
            minimum=0,
            label=LABELS["dynamic_param"],
            min_width=140,
            elem_id="gallery-repair-dynamic_param",
        )
    with gr.Row():
        fields["strip_private"] = switch("strip_private")
        fields["drop_broken"] = switch("drop_broken")
    others = gr.Textbox(
        label="Merge with (names, each with its ratio)",
        placeholder="ink: 0.7, my-cat: 0.5",
        max_lines=1,
        elem_id="gallery-repair-others",
    )
    return fields, others


def listen(parts: InspectParts, chosen: gr.Textbox, studio: Studio) -> Any:
    """Wire the buttons. Returns the event after which `chosen` holds the new LoRA's slug."""

    def look_into_lora(slug: str, base: str) -> str:
        if not slug:
            raise StoreError("No LoRA is chosen.", "Click one on the left, or send a file.")
        return view(studio.inspector.inspect(safe_slug(slug), checked_base(base)))

    def look_into_file(file: Any, base: str) -> str:
        paths = safe_uploads(file, studio.settings)
        if not paths:
            raise StoreError("No file was sent.", "Choose a .safetensors file.")
        return view(studio.inspector.inspect_file(paths[0], checked_base(base)))

    def checked_base(given: str | None) -> str:
        return safe_base(given, studio.settings) if given else ""

    def repair(request: gr.Request, slug: str, title: str, others: str, *values: Any) -> str:
        asked = dict(zip(parts.fields, values, strict=True))
        wanted, name = chosen_lora(slug), text(title, "title")
        repairs = RepairRequest.from_values({name: value for name, value in asked.items() if value})
        session = request.session_hash or ""
        if merged := text(others, "others").strip():
            ratios = [(wanted, 1.0), *studio.inspector.named(merged)]
            job = studio.inspector.merge(ratios, repairs, name, session=session)
        else:
            job = studio.inspector.repair(wanted, repairs, name, session=session)
        made = studio.inspector.result_of(job)  # it goes on where nobody waits for it any more
        if made is None:
            gr.Info("It was stopped; nothing of it is kept.", title="Repaired copy")
            return slug
        record, notes = made
        gr.Info(as_words(" ".join([f"“{record.title}” is in the library.", *notes])), title="Repaired copy")
        return record.slug

    repair_progress.listen(parts.progress, studio)
    parts.go.click(
        guarded(look_into_lora), [chosen, parts.base], parts.report, show_progress_on=parts.report, **PRIVATE
    )
    parts.file.upload(
        guarded(look_into_file),
        [parts.file, parts.base],
        parts.report,
        show_progress_on=parts.report,
        **PRIVATE,
    )
    chosen.change(lambda: "", None, parts.report, show_progress="hidden", **PRIVATE)
    inputs = [chosen, parts.title, parts.others, *parts.fields.values()]
    return parts.repair.click(
        guarded(repair), inputs, chosen, show_progress_on=parts.repair, concurrency_limit=AT_ONCE, **PRIVATE
    )


def view(report: LoraReport) -> str:
    """HTML of a report, with what can be mended in the labels of the fields."""
    mended = [(labelled(one.fix), one.reason) for one in report.suggestions]
    return fill(
        "inspection", report=report, facts=fact_lines(report), blocks=block_rows(report), mended=mended
    )


def labelled(fix: str) -> str:
    """A repair in the words of `--fix` as the page has it."""
    name, _, value = fix.partition("=")
    return f"{LABELS[name]}: {value}" if value else LABELS[name]
