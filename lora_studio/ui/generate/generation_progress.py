"""The generation on the page: its progress bar, its live preview, other waiting ones, its results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

import gradio as gr

from lora_studio.events import PHASES
from lora_studio.formatting import counted, duration, size
from lora_studio.jobs.generation_queue import GenerationJob, GenerationQueue, GenerationState
from lora_studio.records import ImageRecord
from lora_studio.studio import Studio
from lora_studio.ui.client_input import deleted_elsewhere
from lora_studio.ui.gallery.gallery_tab import infotext
from lora_studio.ui.widgets import cards
from lora_studio.ui.widgets.html_templates import fill

BYTE_PHASES = frozenset({"download", "load"})
SPOKEN_PERCENT = 25
MOST_LISTED, MOST_RECENT = 8, 12
SHORT_SECONDS = 10
NOTHING: Mapping[str, str] = {}
HIDDEN: Literal["hidden"] = "hidden"
"""Stands in the page unseen. Gradio (6.31) makes what is not there yet when it is first shown, and forgets to
take it away when that is asked for meanwhile."""


def shown_ticket(generation_queue: GenerationQueue, ticket_id: str) -> GenerationJob | None:
    """The generation that the page chose; without a choice the running one, else the newest. A strength
    report leaves no pictures to show here."""
    tickets = generation_queue.tickets()
    chosen = next((ticket for ticket in tickets if ticket.id == ticket_id), None)
    newest = next((ticket for ticket in tickets if ticket.state.active or not ticket.report_of), None)
    return chosen or generation_queue.running() or newest


def updates(studio: Studio, ticket: GenerationJob | None, drawn: Any) -> tuple[list[Any], list[Any]]:
    """Values for `GenerateTab.live`, and a mark of the results; `drawn` is the page's mark."""
    others = [
        one
        for one in studio.generation_queue.tickets()
        if one.state.active and (not ticket or one.id != ticket.id)
    ]
    active = ticket is not None and ticket.state.active
    bar = progress(ticket, others[:MOST_LISTED], studio.lease.holder) if active or others else ""
    mark = [ticket.id, str(ticket.state), len(ticket.saved), len(ticket.notes)] if ticket else []
    if mark and ticket is not None and not active:
        mark.append(deleted_elsewhere.stamp(studio.settings))
    shown = gr.skip() if mark == drawn else results(ticket, gone(studio, ticket))
    latest = gr.skip() if mark == drawn else cards.recent(studio.gallery.images(limit=MOST_RECENT))
    return [bar, shown, gr.update(visible=True if active else HIDDEN), speech(ticket), latest], mark


def sentence(ticket: GenerationJob, holder: str = "") -> str:
    """The state in words. `holder` is the device's present holder."""
    if ticket.state is GenerationState.WAITING:
        first = "one generation comes" if ticket.ahead == 1 else f"{ticket.ahead} generations come"
        return f"Waiting: {first} first." if ticket.ahead else "Its turn comes now."
    if ticket.stop_asked:
        return "Stopping after this step."
    if ticket.phase in BYTE_PHASES:
        return _loading(ticket)
    if not ticket.image:
        return "Waiting for a step of the training to end." if holder == "training" else "Getting ready."
    where = f"Picture {ticket.image} of {ticket.images}" if ticket.images > 1 else "Drawing"
    if ticket.together > 1:
        where = f"Pictures {ticket.image} to {ticket.last} of {ticket.images}"
    return f"{where}, step {ticket.step} of {ticket.total_steps}"


def _loading(ticket: GenerationJob) -> str:
    doing = PHASES[ticket.phase].title
    if ticket.total > 1:
        doing = f"{doing}: {size(ticket.done)} of {size(ticket.total)}"
    return f"{doing} · {ticket.note}" if ticket.note else f"{doing}."


def percent(ticket: GenerationJob) -> int:
    """Percent of the present phase: of the bytes while the base is fetched, else of the steps."""
    if ticket.phase in BYTE_PHASES and ticket.total > 1 and not ticket.image:
        return min(99, 100 * ticket.done // ticket.total)
    return ticket.percent


def progress(ticket: GenerationJob | None, others: Sequence[GenerationJob], holder: str = "") -> str:
    """HTML of the card with the bar, and a line for each of the others that wait or run."""
    shown = ticket if ticket is not None and ticket.state.active else None
    lines = [{"ticket": one, "sentence": sentence(one, holder), "percent": percent(one)} for one in others]
    return fill(
        "generation",
        ticket=shown,
        sentence=sentence(shown, holder) if shown else "",
        percent=percent(shown) if shown else 0,
        took=duration(shown.seconds) if shown and shown.seconds >= 1 else "",
        others=lines,
    )


def speech(ticket: GenerationJob | None) -> str:
    """HTML for screen readers: changes with each picture, or each quarter of a single one, and in the end."""
    if ticket is None:
        return ""
    match ticket.state:
        case GenerationState.WAITING:
            text = "The generation is waiting."
        case GenerationState.RUNNING if ticket.together > 1:
            text = f"Drawing pictures {ticket.image} to {ticket.last} of {ticket.images}."
        case GenerationState.RUNNING if ticket.images > 1:
            text = f"Drawing picture {max(1, ticket.image)} of {ticket.images}."
        case GenerationState.RUNNING:
            text = f"Drawing, {percent(ticket) // SPOKEN_PERCENT * SPOKEN_PERCENT} percent."
        case GenerationState.FAILED:
            text = f"{ticket.message} {ticket.hint}".strip()
        case _:
            text = f"{ending(ticket)} {counted(len(ticket.made.images), 'picture')}."
    return fill("speech", text=text)


def ending(ticket: GenerationJob) -> str:
    if ticket.state is GenerationState.STOPPED and not ticket.made.images:
        return "Stopped before the first picture was done."
    took = f"{ticket.seconds:.1f} s" if ticket.seconds < SHORT_SECONDS else duration(ticket.seconds)
    sentence = f"{'Stopped' if ticket.state is GenerationState.STOPPED else 'Done'} in {took}."
    reused = ticket.made.grid.reused if ticket.made.grid else 0
    return f"{sentence} {counted(reused, 'picture')} had been drawn before." if reused else sentence


def gone(studio: Studio, ticket: GenerationJob | None) -> dict[str, str]:
    """Pictures of a generation that were deleted since: the token of each, by its path."""
    made = ticket.made if ticket is not None else None
    paths = {record.path for record in (*made.images, *made.beside)} if made else set()
    return {path: deleted_elsewhere.token_of(studio, path) for path in paths if not Path(path).is_file()}


def single_result(record: ImageRecord) -> str:
    """HTML of one earlier picture, as a result."""
    return cards.results([cards.Result(image=record)], infotext(record))


def results(ticket: GenerationJob | None, gone: Mapping[str, str] = NOTHING) -> str:
    """HTML of the pictures done so far, of all in the end, or of the reason why there are none. `gone` as
    from the function of that name."""
    if ticket is None:
        return fill("no_results")
    if ticket.state.active:
        return cards.unfinished(ticket.saved) if ticket.saved else ""
    if ticket.state is GenerationState.FAILED:
        return fill("failure", message=ticket.message, hint=ticket.hint, notes=ticket.notes)
    made = ticket.made
    pairs = [
        cards.Result(
            image=image, base=base if base and base.path not in gone else None, token=gone.get(image.path)
        )
        for image, base in zip_longest(made.images, made.beside[: len(made.images)])
    ]
    first_infotext = infotext(made.images[0]) if made.images else ""
    sheet = made.sheet if made.sheet and Path(made.sheet).is_file() else ""
    return cards.results(pairs, first_infotext, ending(ticket), notes=ticket.notes, sheet=sheet)
