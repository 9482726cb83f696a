"""The strength report of a LoRA on the page: verdicts, labelled pictures, and the button that draws it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from lora_studio.errors import ConfigError, StudioError
from lora_studio.formatting import counted, moment
from lora_studio.grids.strength_drawing import TITLES
from lora_studio.grids.strength_request import StrengthRequest, plan_strength
from lora_studio.jobs.generation_queue import GenerationJob, GenerationState
from lora_studio.lora.lora_folder import state_of
from lora_studio.lora.strength_report import (
    FOLDER,
    REPORT,
    SHEET,
    StrengthReport,
    StrengthRow,
    read_strength,
    shown_weight,
    verdicts,
)
from lora_studio.records import LoraRecord
from lora_studio.studio import Studio
from lora_studio.ui.client_input.validate import guarded, safe_slug
from lora_studio.ui.widgets.html_templates import ACTIONS_JS, FOCUS_JS, fill, panel

NOTHING = "–"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One picture of the sheet: its file, None where there is none, and the weight it was drawn with."""

    path: Path | None
    weight: str


def render(elem_id: str) -> gr.HTML:
    """Create the panel of a report. Call inside a Tab or Column."""
    return panel(elem_id=elem_id, actions=ACTIONS_JS + FOCUS_JS)


def listen(shown: gr.HTML, studio: Studio) -> Any:
    """Wire the buttons of one panel. Returns the event after which the page has to be refreshed."""

    def act(event: gr.EventData) -> str:
        slug = safe_slug(getattr(event, "slug", None))
        match getattr(event, "action", ""):
            case "draw":
                studio.submit_strength(StrengthRequest.build(slug))
            case "stop" if (ticket := studio.strength_ticket(slug)) is not None:
                studio.generation_queue.cancel(ticket.id)
        return strength_of(studio, slug)

    act.__name__ = "draw_strength"  # the audit log calls it so
    return shown.click(guarded(act), None, shown, show_progress="hidden", api_visibility="private")


def strength_mark(studio: Studio, slug: str) -> list[Any]:
    """Facts that change with what `strength_of` shows."""
    if not slug:
        return []
    ticket = studio.strength_ticket(slug)
    progress = [str(ticket.state), ticket.percent, ticket.image, ticket.ahead] if ticket else []
    return [
        slug,
        state_of(studio.settings.loras / slug / FOLDER / REPORT),
        state_of(studio.settings.loras / slug),
        progress,
    ]


def strength_of(studio: Studio, slug: str) -> str:
    """HTML of a LoRA's report, of its drawing, or of the way to one; empty without a LoRA."""
    try:
        record = studio.gallery.lora(slug) if slug else None
    except StudioError:
        record = None
    if record is None:
        return ""
    ticket = studio.strength_ticket(record.slug)
    folder = Path(record.path).parent
    return view(record, read_strength(folder), folder, ticket)


def view(
    record: LoraRecord, report: StrengthReport | None, folder: Path, ticket: GenerationJob | None
) -> str:
    """HTML of the report in a LoRA's folder, or of the generation that draws a new one."""
    active = ticket if ticket is not None and ticket.state.active else None
    failed = ticket if ticket is not None and ticket.state is GenerationState.FAILED else None
    return fill(
        "strength",
        slug=record.slug,
        title=record.title,
        ticket=active,
        sentence=_progress(active) if active else "",
        failure=f"{failed.message} {failed.hint}".strip() if failed else "",
        report=None if active else report,
        verdicts=verdicts(report) if report else [],
        rows=[(row, TITLES[row.about], _cells(row, report, folder), _numbers(row)) for row in report.rows]
        if report
        else [],
        weights=[shown_weight(weight) for weight in report.weights] if report else [],
        sheet=_there(folder / FOLDER / SHEET),
        outdated=bool(report and report.tensor_hash != record.id),
        made=moment(report.made_at) if report else "",
        cost=_cost(record),
    )


def _cells(row: StrengthRow, report: StrengthReport, folder: Path) -> list[Cell]:
    paths = [_there(folder / FOLDER / name) if name else None for name in row.pictures]
    return [
        Cell(path=path, weight=shown_weight(weight))
        for path, weight in zip(paths, report.weights, strict=True)
    ]


def _numbers(row: StrengthRow) -> list[str]:
    """The measured changes for the table of numbers."""
    return [NOTHING if change is None else f"{change:.2f}" for change in row.changes]


def _there(path: Path) -> Path | None:
    return path if path.is_file() else None


def _cost(record: LoraRecord) -> str:
    """The number of pictures of a drawing, in words."""
    try:
        cells = len(plan_strength(StrengthRequest.build(record.slug), record).grid().cells)
    except ConfigError:
        return ""
    return counted(cells, "picture")


def _progress(ticket: GenerationJob) -> str:
    if ticket.stop_asked:
        return "Stopping after this step."
    if ticket.state is GenerationState.WAITING:
        return "Waiting for its turn."
    if not ticket.image:
        return "Getting ready."
    if ticket.image >= ticket.images and ticket.step >= ticket.total_steps:
        return "Comparing the pictures."
    return f"Picture {ticket.image} of {ticket.images}"
