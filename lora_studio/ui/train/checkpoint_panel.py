"""The checkpoint report on the page: pictures and measurements side by side, and a button for each
checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from lora_studio.errors import StoreError, StudioError
from lora_studio.formatting import short
from lora_studio.lora.checkpoint_report import (
    CheckpointReport,
    CheckpointRow,
    closeness,
    percent,
    read_report,
)
from lora_studio.lora.checkpoints import checkpoint_files, chosen_step
from lora_studio.studio import Studio
from lora_studio.ui.client_input.validate import guarded, safe_slug, whole
from lora_studio.ui.widgets.html_templates import ACTIONS_JS, fill, panel


@dataclass(frozen=True, kw_only=True)
class Column:
    """A measurement: its title, its meaning, and a function that shows a row's value."""

    title: str
    meaning: str
    show: Callable[[CheckpointRow], str]


def _share(value: float | None) -> str:
    return "–" if value is None else percent(value)


COLUMNS = (
    Column(
        title="likeness",
        meaning="how far its pictures have come from the base's to yours",
        show=lambda row: "–" if row.likeness is None else closeness(row.likeness),
    ),
    Column(
        title="keeps to the prompt",
        meaning="100 % when each picture clearly fits its own prompt best",
        show=lambda row: _share(row.adherence),
    ),
    Column(
        title="leak",
        meaning="how much a picture without the trigger word has changed",
        show=lambda row: _share(row.leak),
    ),
    Column(
        title="validation loss",
        meaning="on the pictures held back; lower is better",
        show=lambda row: "–" if row.validation_loss is None else short(row.validation_loss),
    ),
)


def render(elem_id: str) -> gr.HTML:
    """Create the panel of a report. Call inside a Tab."""
    return panel(elem_id=elem_id, actions=ACTIONS_JS)


def listen(shown: gr.HTML, studio: Studio) -> Any:
    """Wire the buttons of one report. Returns the event after which the page has to be refreshed."""

    def use(event: gr.EventData) -> str:
        slug, step = safe_slug(getattr(event, "slug", None)), whole(getattr(event, "step", None), "step")
        before = studio.gallery.use_checkpoint(slug, step or 0)
        return board_of(studio, slug, before=before)

    return shown.click(guarded(use), None, shown, show_progress="hidden", api_visibility="private")


def board_of(studio: Studio, slug: str, before: int = 0) -> str:
    """HTML of the report of a LoRA of the library; empty when it has none. `before` is the step that was in
    use until just now."""
    try:
        record = studio.gallery.lora(slug) if slug else None
    except StoreError:
        record = None
    folder = Path(record.path).parent if record else None
    board = read_report(folder) if folder else None
    return view(board, folder, slug, before) if board and folder else ""


def _placed(pictures: Sequence[str], board: CheckpointReport, folder: Path) -> list[Path | None]:
    """A picture for each prompt, None where there is none."""
    padded = (*pictures, *[""] * len(board.prompts))[: len(board.prompts)]
    return [_there(folder, path) for path in padded]


def _there(folder: Path, path: str) -> Path | None:
    return folder / path if path and (folder / path).is_file() else None


def view(board: CheckpointReport, folder: Path, slug: str, before: int = 0) -> str:
    """HTML of a table of checkpoints and pictures. Only columns with a value are shown."""
    try:
        used = chosen_step(folder)
    except StudioError:
        used = 0
    columns = [column for column in COLUMNS if any(column.show(row) != "–" for row in board.rows)]
    rows = [
        {
            "row": row,
            "pictures": _placed(row.pictures, board, folder),
            "without": _there(folder, row.without),
            "values": [column.show(row) for column in columns],
            "usable": row.step != used and row.step in checkpoint_files(folder),
        }
        for row in board.rows
    ]
    return fill(
        "board",
        board=board,
        slug=slug,
        base=_placed(board.base, board, folder),
        without_base=_there(folder, board.without_base),
        columns=columns,
        rows=rows,
        used=used,
        before=before if before != used else 0,
    )
