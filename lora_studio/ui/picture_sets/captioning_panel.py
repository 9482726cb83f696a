"""Captions by a model on Upload: begun for the pictures that have none, watched, stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from lora_studio.captioning.captioner import ENGINES, engine_of
from lora_studio.errors import DatasetError, StudioError
from lora_studio.jobs.captioning.captioning_jobs import Captioning
from lora_studio.jobs.captioning.captioning_request import CaptioningRequest
from lora_studio.studio import Studio
from lora_studio.ui.client_input.validate import guarded, quietly, safe_id
from lora_studio.ui.picture_sets import tagger_controls
from lora_studio.ui.picture_sets.tagger_controls import TaggerControls
from lora_studio.ui.widgets.html_templates import fill, panel

CARD_JS = Path(__file__).with_name("captioning.js").read_text("utf-8")
QUICK: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
SHOWN = 5
"""Pictures without a caption that are named."""


@dataclass(frozen=True, kw_only=True)
class CaptioningParts:
    """The choice of an engine, the options of a tagger, the button, and what the captioning says."""

    engine: gr.Radio
    tagger: TaggerControls
    begin: gr.Button
    card: gr.HTML


def render() -> CaptioningParts:
    """Create the components. Call in the fold of the captions."""
    engine = gr.Radio(
        [(engine.title, name) for name, engine in ENGINES.items()],
        value=next(iter(ENGINES)),
        label="A model for the pictures without a caption",
        info="Starter knows the embedded base's world, no photographs. The others' files have to be here.",
        elem_id="upload-captioning-engine",
    )
    tagger = tagger_controls.render()
    begin = gr.Button("Write the missing captions", elem_id="upload-captioning-go")
    card = panel(elem_id="upload-captioning", actions=CARD_JS)
    return CaptioningParts(engine=engine, tagger=tagger, begin=begin, card=card)


def listen(
    parts: CaptioningParts,
    studio: Studio,
    given: list[Any],
    shown: list[Any],
    repaint: Callable[[str, str, Any], list[Any]],
) -> Any:
    """Wire them. `given` are the components of set, base and resolution, from whose values `repaint` makes
    those of `shown`. Returns the event after which the captions are others."""
    dataset, card = given[0], parts.card

    def start_captions(dataset_id: str, engine: str, *tagger: Any) -> str:
        request = CaptioningRequest(
            dataset_id=_set_id(dataset_id),
            engine=engine_of(engine),
            tagger=tagger_controls.tagger_options(*tagger),
        )
        return _card(studio.captionings.begin(request))

    def look_at_captioning(dataset_id: str) -> str:
        try:
            return _card(studio.captionings.get(_set_id(dataset_id)))
        except StudioError:  # none was begun for these pictures
            return ""

    def end_captioning(dataset_id: str) -> str:
        set_id = _set_id(dataset_id)
        studio.captionings.stop(set_id)
        return _card(studio.captionings.get(set_id))

    parts.begin.click(guarded(start_captions), [dataset, parts.engine, *parts.tagger.fields], card, **QUICK)
    parts.engine.change(tagger_controls.shown_for, parts.engine, parts.tagger.group, queue=False, **QUICK)
    for look in (card.input, dataset.change):
        look(quietly(look_at_captioning, gr.skip), dataset, card, queue=False, **QUICK)
    card.stop(guarded(end_captioning), dataset, card, **QUICK)
    return card.apply(guarded(repaint), given, shown, **QUICK)


def _set_id(dataset_id: Any) -> str:
    if not dataset_id:
        raise DatasetError("There are no pictures.", "Add some first.")
    return safe_id(dataset_id, "set of pictures")


def _card(job: Captioning) -> str:
    return fill(
        "captioning",
        job=job,
        state=str(job.state),
        percent=100 * job.done // max(1, job.total),
        failed=[{"file": file, "reason": reason} for file, reason in list(job.failed.items())[:SHOWN]],
    )
