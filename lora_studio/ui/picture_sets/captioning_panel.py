"""Captions by a model on Upload: what they will cost, begun for the pictures that have none or for a single
one, watched, stopped, gone on with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from lora_studio.captioning.captioner import ENGINES, engine_of
from lora_studio.errors import StudioError
from lora_studio.formatting import about, counted, size
from lora_studio.jobs.captioning.captioning_cost import CaptioningCost
from lora_studio.jobs.captioning.captioning_request import CaptioningRequest
from lora_studio.jobs.captioning.captioning_state import Captioning, CaptioningState
from lora_studio.studio import Studio
from lora_studio.ui.client_input.validate import QUICK, guarded, quietly, shown_set, text
from lora_studio.ui.picture_sets import tagger_controls
from lora_studio.ui.picture_sets.tagger_controls import TaggerControls
from lora_studio.ui.widgets.html_templates import fill, panel

CARD_JS = Path(__file__).with_name("captioning.js").read_text("utf-8")
SHOWN = 5
"""Pictures without a caption that are named."""


@dataclass(frozen=True, kw_only=True)
class CaptioningParts:
    """The choice of an engine, a tagger's options, the cost, the button, and what the captioning says."""

    engine: gr.Radio
    tagger: TaggerControls
    cost: gr.HTML
    begin: gr.Button
    card: gr.HTML

    @property
    def asked(self) -> list[Any]:
        """Components of an engine, in the order of `_request`."""
        return [self.engine, *self.tagger.fields]


def render() -> dict[str, Any]:
    """Create all but the card, by their names in `CaptioningParts`. Call in the fold of the captions."""
    engine = gr.Radio(
        [(engine.title, name) for name, engine in ENGINES.items()],
        value=next(iter(ENGINES)),
        label="A model for the pictures without a caption",
        info="Starter knows the embedded base's world, no photographs. The others' files have to be here.",
        elem_id="upload-captioning-engine",
    )
    tagger = tagger_controls.render()
    cost = panel(elem_id="upload-captioning-cost")
    begin = gr.Button("Write the missing captions", elem_id="upload-captioning-go")
    return {"engine": engine, "tagger": tagger, "cost": cost, "begin": begin}


def render_card() -> gr.HTML:
    """Create the card. Call above the pictures, whose captions can be asked for while the fold is closed."""
    return panel(elem_id="upload-captioning", actions=CARD_JS)


def listen(
    parts: CaptioningParts,
    studio: Studio,
    pictures: gr.HTML,
    given: list[Any],
    shown: list[Any],
    repaint: Callable[[str, str, Any], list[Any]],
) -> Any:
    """Wire them. `given` are the components of set, base and resolution, from whose values `repaint` makes
    those of `shown`. Returns the event after which the captions are others."""
    dataset, card = given[0], parts.card
    asked = [dataset, *parts.asked]

    def start_captions(dataset_id: str, *engine: Any) -> str:
        return _card(studio.captionings.begin(_request(dataset_id, engine)))

    def retry_caption(event: gr.EventData, dataset_id: str, *engine: Any) -> str:
        name = text(getattr(event, "file", None), "picture")
        over_hand = getattr(event, "over", None) == "true"
        request = _request(dataset_id, engine, pictures=(name,), over_hand=over_hand)
        if not over_hand and _asks_first(studio, request.dataset_id, name):
            return fill("captioning_question", file=name)
        return _card(studio.captionings.begin(request))

    def look_at_captioning(dataset_id: str) -> str:
        try:
            return _card(studio.captionings.get(shown_set(dataset_id)))
        except StudioError:  # none was begun for these pictures
            return ""

    def end_captioning(dataset_id: str) -> str:
        set_id = shown_set(dataset_id)
        studio.captionings.stop(set_id)
        return _card(studio.captionings.get(set_id))

    def resume_captioning(dataset_id: str) -> str:
        set_id = shown_set(dataset_id)
        request = studio.captionings.get(set_id).request
        for name in request.pictures if request.over_hand else ():
            if studio.captionings.is_by_hand(set_id, name):  # maybe another caption than the one asked about
                return fill("captioning_question", file=name)
        return _card(studio.captionings.go_on(set_id))

    parts.begin.click(guarded(start_captions), asked, card, **QUICK)
    gr.on([pictures.retry, card.retry], guarded(retry_caption), asked, card, **QUICK)
    parts.engine.change(tagger_controls.shown_for, parts.engine, parts.tagger.group, queue=False, **QUICK)
    for look in (card.input, card.collapse, dataset.change):
        look(quietly(look_at_captioning, gr.skip), dataset, card, queue=False, **QUICK)
    card.stop(guarded(end_captioning), dataset, card, **QUICK)
    card.undo(guarded(resume_captioning), dataset, card, **QUICK)
    return card.apply(guarded(repaint), given, shown, **QUICK)


def listen_cost(parts: CaptioningParts, studio: Studio, dataset: gr.Textbox, fold: gr.Accordion) -> None:
    """Say what the missing captions will cost, when the fold opens and when that changes."""

    def show_cost(dataset_id: str, *engine: Any) -> str:
        return _cost(studio.captionings.cost(_request(dataset_id, engine))) if dataset_id else ""

    gr.on(
        [fold.expand, parts.engine.change, parts.card.apply],
        quietly(show_cost, gr.skip),
        [dataset, *parts.asked],
        parts.cost,
        **QUICK,
    )


def _request(dataset_id: Any, engine: Sequence[Any], **pictures: Any) -> CaptioningRequest:
    name, *tagger = engine
    return CaptioningRequest(
        dataset_id=shown_set(dataset_id),
        engine=engine_of(name),
        tagger=tagger_controls.tagger_options(*tagger),
        **pictures,
    )


def _asks_first(studio: Studio, dataset_id: str, name: str) -> bool:
    """Whether a picture has a caption by hand to ask about. A captioning that runs keeps its card: what is
    asked for meanwhile is refused."""
    running = (job for _, job in studio.captionings.unfinished() if job.state is CaptioningState.RUNNING)
    is_running = any(job.request.dataset_id == dataset_id for job in running)
    return not is_running and studio.captionings.is_by_hand(dataset_id, name)


def _card(job: Captioning) -> str:
    return fill(
        "captioning",
        job=job,
        state=str(job.state),
        percent=100 * job.done // max(1, job.total),
        failed=[{"file": file, "reason": reason} for file, reason in list(job.failed.items())[:SHOWN]],
    )


def _cost(cost: CaptioningCost) -> str:
    """HTML of a cost. One without pictures to look at says so alone."""
    return fill(
        "captioning_cost",
        pictures=counted(cost.pictures, "picture") if cost.pictures else "",
        title=cost.engine.title,
        takes=about(cost.seconds) if cost.seconds is not None else "",
        memory=size(cost.memory_bytes) if cost.is_here else "",
        fetch=cost.engine.fetch_command,
        download=size(cost.engine.download_bytes),
    )
