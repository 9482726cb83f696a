"""The end of a training on the page: the first pictures with its LoRA, or why there are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from lora_studio.access.visitor import Kind, visitor
from lora_studio.errors import StoreError
from lora_studio.events import ResultDrawn
from lora_studio.formatting import counted
from lora_studio.jobs.generation_queue import GenerationJob
from lora_studio.records import JobRecord, JobStatus
from lora_studio.studio import Studio
from lora_studio.ui.client_input.validate import guarded, safe_id
from lora_studio.ui.widgets.html_templates import ACTIONS_JS, fill, panel


def render() -> gr.HTML:
    """Create the card. Call inside a Tab."""
    return panel(elem_id="train-ready", actions=ACTIONS_JS)


def listen(card: gr.HTML, studio: Studio) -> Any:
    """Wire the card's button. Returns the event after which the page has to be refreshed."""

    def draw_result(event: gr.EventData) -> None:
        job = studio.jobs.get(safe_id(getattr(event, "id", None), "training"))
        if not is_ready(job):
            raise StoreError("This training has no LoRA to draw with.", "Reload the page.")
        studio.result_pictures.ask(job)

    return card.click(guarded(draw_result), None, None, show_progress="hidden", api_visibility="private")


def is_ready(job: JobRecord) -> bool:
    """Whether a training has ended well and left a LoRA."""
    return job.status is JobStatus.FINISHED and bool(job.result_path)


def result_card(studio: Studio, job: JobRecord) -> str:
    """HTML of the card; empty for a training that isn't ready."""
    if not is_ready(job):
        return ""
    found = studio.result_pictures.of(job.id) or ResultDrawn()
    ticket = ticket_of(studio, found.ticket)
    is_drawn = ticket is not None and ticket.state.active
    drawn = ticket.saved if ticket is not None and found.ticket else found.paths
    here = [path for path in drawn if Path(path).is_file()]
    prompts = found.prompts or ("",) * len(drawn)
    pictures = [(path, prompt) for path, prompt in zip(drawn, prompts, strict=False) if path in here]
    return fill(
        "ready",
        job=job,
        trigger=str(job.config.get("dataset", {}).get("trigger_word") or ""),
        pictures=pictures,
        missing=max(0, ticket.images - len(pictures)) if ticket is not None and is_drawn else 0,
        sentence=_sentence(found, ticket, len(here) < len(drawn)),
        can_be_asked=not is_drawn and not pictures and visitor().owns(Kind.JOB, job.id),
    )


def _sentence(found: ResultDrawn, ticket: GenerationJob | None, is_deleted: bool) -> str:
    """The state of the pictures, where they don't speak for themselves."""
    if ticket is not None and ticket.state.active:
        done, waits = len(ticket.saved), ticket.ahead
        if waits and not done:
            return f"Pictures with it will be drawn after {counted(waits, 'other generation')}."
        return f"Pictures with it are being drawn: {done} of {ticket.images}."
    if found.ticket:
        return "The first pictures with it were not drawn."
    if is_deleted:
        return "Some of the first pictures with it were deleted."
    return found.message


def ticket_of(studio: Studio, ticket_id: str) -> GenerationJob | None:
    """The generation of an id, if it is remembered and the visitor's."""
    try:
        return studio.generation_queue.ticket(ticket_id) if ticket_id else None
    except StoreError:
        return None


def progress_mark(studio: Studio, ticket_id: Any) -> list[Any]:
    """Facts that change while a training's pictures are drawn."""
    ticket = ticket_of(studio, ticket_id) if isinstance(ticket_id, str) else None
    return [ticket.id, str(ticket.state), len(ticket.saved), ticket.ahead] if ticket else []


def waited_for(studio: Studio, job: JobRecord | None) -> list[Any]:
    """`progress_mark` of the pictures that a training waits for; empty when it waits for none."""
    found = studio.result_pictures.of(job.id) if job is not None and is_ready(job) else None
    return progress_mark(studio, found.ticket) if found else []
