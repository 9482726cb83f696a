"""The captions of a set at once: counted, changed by rule after a look; and the set as a ZIP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from lora_studio.data.captioning.caption_change import CaptionChange, CaptionFilter
from lora_studio.data.captioning.caption_operations import LONGEST_WORDS
from lora_studio.errors import ConfigError
from lora_studio.studio import Studio
from lora_studio.ui.client_input.validate import PRIVATE, QUICK, guarded, quietly, safe_id, shown_set, text
from lora_studio.ui.picture_sets import captioning_panel, set_captions, set_download
from lora_studio.ui.picture_sets.captioning_panel import CaptioningParts
from lora_studio.ui.picture_sets.set_download import DownloadParts
from lora_studio.ui.upload import picture_set
from lora_studio.ui.upload.picture_actions import SetActions
from lora_studio.ui.upload.training_summary import DEFAULT_BASE
from lora_studio.ui.widgets.html_templates import fill, panel

OPERATIONS = (
    ("Add", "add"),
    ("Remove", "remove"),
    ("Replace", "replace"),
    ("Merge", "merge"),
    ("Trigger word first", "trigger_first"),
    ("Sort the tags", "order"),
)
SHOWN, WORDS_SHOWN = 5, 40
"""Captions of a change, and words or tags, that are shown."""


@dataclass(frozen=True, kw_only=True)
class CaptionParts:
    """The components of both folds."""

    fold: gr.Accordion
    words: gr.HTML
    operation: gr.Radio
    given: gr.Textbox
    by: gr.Textbox
    at: gr.Radio
    only: gr.Textbox
    look: gr.Button
    change: gr.Button
    result: gr.HTML
    captioning: CaptioningParts
    download: DownloadParts

    @property
    def asked(self) -> list[Any]:
        """Components of an operation, in the order of `_operation`, and `only`."""
        return [self.operation, self.given, self.by, self.at, self.only]


def render() -> CaptionParts:
    """Create the components. Call in the column of the pictures."""
    with gr.Accordion("Captions of all pictures", open=False, elem_id="upload-captions") as fold:
        words = panel(elem_id="upload-captions-words")
        operation = gr.Radio(
            list(OPERATIONS), value="add", label="What to do", elem_id="upload-captions-operation"
        )
        given = gr.Textbox(
            label="Tag or words",
            info="Merge takes several, with commas between them.",
            max_length=LONGEST_WORDS,
            elem_id="upload-captions-given",
        )
        by = gr.Textbox(
            label="What they become", max_length=LONGEST_WORDS, visible=False, elem_id="upload-captions-by"
        )
        at = gr.Radio(
            [("At the end", "end"), ("In front", "front")],
            value="end",
            label="Where",
            elem_id="upload-captions-at",
        )
        only = gr.Textbox(
            label="Only in captions with",
            placeholder="any",
            max_length=LONGEST_WORDS,
            elem_id="upload-captions-only",
        )
        with gr.Row():
            look = gr.Button("Show what would change", elem_id="upload-captions-look")
            change = gr.Button("Change the captions", elem_id="upload-captions-change")
        result = panel(elem_id="upload-captions-result")
        captioning = captioning_panel.render()
    card = captioning_panel.render_card()
    download = set_download.render()
    return CaptionParts(
        fold=fold,
        words=words,
        operation=operation,
        given=given,
        by=by,
        at=at,
        only=only,
        look=look,
        change=change,
        result=result,
        captioning=CaptioningParts(**captioning, card=card),
        download=download,
    )


def listen(parts: CaptionParts, actions: SetActions, given: list[Any], shown: list[Any]) -> Any:
    """Wire both folds. `given` are the components of set, base and resolution, `shown` those that change with
    the pictures. Returns the event after which the captions are others."""
    studio, dataset = actions.studio, given[0]
    counted = {"inputs": dataset, "outputs": parts.words, "concurrency_id": "caption_words", **QUICK}

    def count_words(dataset_id: str) -> str:
        return _words(studio, dataset_id) if dataset_id else ""

    def preview_captions(dataset_id: str, *asked: Any) -> str:
        operation, chosen = _operation(asked)
        return _shown(set_captions.planned(studio, shown_set(dataset_id), operation, chosen), is_made=False)

    def reword_captions(dataset_id: str, base: str, typed: Any, *asked: Any) -> list[Any]:
        set_id, (operation, chosen) = shown_set(dataset_id), _operation(asked)
        change = set_captions.made(studio, set_id, operation, chosen)
        view = actions.view(base, typed)
        return [
            *picture_set.shown(studio, studio.datasets.get(set_id), view),
            _shown(change, is_made=True),
            _words(studio, set_id),
        ]

    captioning_panel.listen_cost(parts.captioning, studio, dataset, parts.fold)
    recounts = [parts.fold.expand, parts.look.click, parts.captioning.card.apply]
    gr.on(recounts, quietly(count_words, gr.skip), **counted)
    parts.operation.change(
        show_fields, parts.operation, [parts.given, parts.by, parts.at], queue=False, **QUICK
    )
    parts.look.click(guarded(preview_captions), [dataset, *parts.asked], parts.result, **QUICK)
    dataset.change(
        lambda: ["", "", ""], None, [parts.words, parts.result, parts.download.link], queue=False, **QUICK
    )
    set_download.listen(parts.download, dataset, studio)
    outputs = [*shown, parts.result, parts.words]
    return parts.change.click(
        guarded(reword_captions), [*given, *parts.asked], outputs, show_progress_on=parts.result, **PRIVATE
    )


def show_fields(operation: str) -> list[dict[str, Any]]:
    """Updates that show the fields which an operation has."""
    return [
        gr.update(visible=operation != "order"),
        gr.update(visible=operation in ("replace", "merge")),
        gr.update(visible=operation == "add"),
    ]


def _operation(asked: Any) -> tuple[dict[str, Any], CaptionFilter]:
    """The operation as JSON, and the captions that it is for."""
    operation, given, by, at, only = asked
    words: Any = text(given, "Tag or words", longest=LONGEST_WORDS).strip(" ,")
    if not words and operation != "order":
        raise ConfigError("No tag or words are given.", "Write them into the field first.")
    if operation == "merge":
        words = [word for part in words.split(",") if (word := part.strip())]
    fields: dict[str, Any] = {"words": words}
    if operation == "add":
        fields["at"] = at
    elif operation in ("replace", "merge"):
        fields["by"] = text(by, "What they become", longest=LONGEST_WORDS)
    elif operation == "order":
        fields = {}
    chosen = CaptionFilter(only=text(only, "Only in captions with", longest=LONGEST_WORDS))
    return {"operation": operation, **fields}, chosen


def _words(studio: Studio, dataset_id: str) -> str:
    found = set_captions.counted_words(
        studio, safe_id(dataset_id, "set of pictures"), CaptionFilter(), DEFAULT_BASE
    )
    return fill(
        "caption_words",
        form=found.form,
        counts=found.words[:WORDS_SHOWN],
        more=max(0, len(found.words) - WORDS_SHOWN),
        beyond=sum(bool(one.lost) for one in found.tokens),
        limit=found.limit,
    )


def _shown(change: CaptionChange, *, is_made: bool) -> str:
    examples = [
        {"file": file, "before": change.before[file], "caption": words}
        for file, words in list(change.after.items())[:SHOWN]
    ]
    return fill(
        "caption_change",
        is_made=is_made,
        changed=len(change.after),
        looked_at=change.looked_at,
        examples=examples,
        more=len(change.after) - len(examples),
    )
