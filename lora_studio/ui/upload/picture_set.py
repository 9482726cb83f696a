"""The set of pictures on the page: taken in, shown with captions and marks, changed."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from lora_studio.data.edits.edit_log import LONGEST_NAME
from lora_studio.data.edits.picture_edits import RemovePicture, edit_of
from lora_studio.data.pixels.picture_pixels import upright_size
from lora_studio.data.pixels.picture_remarks import MUCH_LARGER
from lora_studio.data.pixels.thumbnails import thumbnail, thumbnail_folder
from lora_studio.errors import ConfigError, DatasetError, StudioError
from lora_studio.events import Emit, ShouldStop, ignore, never_stop
from lora_studio.formatting import counted, moment
from lora_studio.lora.names import given_title
from lora_studio.records import DatasetRecord
from lora_studio.studio import Studio
from lora_studio.ui.client_input.validate import safe_id, safe_uploads, text
from lora_studio.ui.widgets.cards import (
    DatasetPicture,
    PicturesState,
    dataset_edits,
    dataset_notices,
    dataset_pictures,
)
from lora_studio.ui.widgets.html_templates import fill

PICTURES = [
    *(".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif"),
    *(".heic", ".heif", ".jxl"),
]
"""Endings of pictures, unreadable kinds too: our refusal says what to do, Gradio's own would not."""
FILE_TYPES = [*PICTURES, ".zip", ".txt", ".caption", ".jsonl", ".json", ".csv", ".tsv", ".toml"]
FIRST_SHOWN = 120
"""Pictures that are shown, and how many more with each click: each needs a thumbnail."""
MOST_SHOWN = 600
"""Pictures that a page holds at once: those that come push others out at the other end."""
MOST_SELECTED = 10_000
SETS_LISTED = 50


@dataclass(frozen=True, kw_only=True)
class SetView:
    """The part of a set that is shown, its first `limit` pictures, or the last MOST_SHOWN of these; those
    that a training at `resolution` would enlarge are marked. `order` is the id of a check: pictures in which
    it found something come first."""

    limit: int = FIRST_SHOWN
    resolution: int = 0
    order: str = ""


@dataclass(frozen=True, kw_only=True)
class Intake:
    """Uploaded files, and the name of a set that is made of them."""

    files: Any
    name: str = ""
    emit: Emit = ignore
    should_stop: ShouldStop = never_stop


def received(studio: Studio, intake: Intake, dataset_id: str, view: SetView) -> list[Any]:
    """Values of `shown` after an upload, which adds to the set on the page if there is one. The reason why
    none of it can be used stays on the page."""
    paths = safe_uploads(intake.files, studio.settings)
    present = studio.datasets.get(safe_id(dataset_id, "set of pictures")) if dataset_id else None
    if not paths:
        return shown(studio, present, view)
    try:
        name = given_title(intake.name)
    except ConfigError:
        name = ""  # a set of pictures needs none; the start says what is wrong with the LoRA's
    try:
        with studio.turns.take("upload"):
            make = (
                partial(studio.datasets.add, present.id) if present else partial(studio.datasets.create, name)
            )
            record = make(paths, intake.emit, intake.should_stop)
        return shown(studio, record, view)
    except StudioError as error:
        dataset, pictures, _, edits = shown(studio, present, view)
        return [dataset, pictures, fill("failure", message=error.message, hint=error.hint, notes=()), edits]


def shown(studio: Studio, record: DatasetRecord | None, view: SetView | None = None) -> list[Any]:
    """The set's id, HTML of its pictures, of what there is to say of them, and of their edits."""
    view = view or SetView()
    if record is None:
        return ["", dataset_pictures(None, []), "", ""]
    history = studio.datasets.edits(record.id)  # before the pictures: what comes in between refuses an edit
    first = studio.checks.found_in(record.id, view.order) if view.order else []
    limit = min(view.limit, max(FIRST_SHOWN, record.images))
    start = max(0, limit - MOST_SHOWN)
    pictures = [
        DatasetPicture(
            name=path.name,
            thumbnail=thumbnail(path, thumbnail_folder(path, studio.settings)),
            caption=caption,
            marks=_marks(path.name, size, record, view.resolution),
            size=size,
        )
        for path, caption in studio.datasets.pictures(record.id, limit, start=start, first=first)
        for size in [_size(path)]
    ]
    state = PicturesState(
        after=history.head,
        start=start,
        limit=limit,
        order=view.order,
        page=FIRST_SHOWN,
        painted=time.monotonic_ns(),
    )
    html = dataset_pictures(record, pictures, state=state)
    return [record.id, html, dataset_notices(record), dataset_edits(history)]


def _marks(name: str, size: tuple[int, int], record: DatasetRecord, resolution: int) -> tuple[str, ...]:
    """Words on what is special about a picture; `small` is one that a training at this resolution enlarges
    much: a bucket has about its area."""
    marks = ["was transparent"] if name in record.transparent else []
    is_small = all(size) and resolution > MUCH_LARGER * math.sqrt(math.prod(size))
    return (*marks, "small") if is_small else tuple(marks)


def _size(path: Path) -> tuple[int, int]:
    try:
        return upright_size(path)
    except DatasetError:
        return 0, 0


def without_pictures(studio: Studio, dataset_id: str, event: Any, view: SetView) -> list[Any]:
    """Values of `shown` after a picture, or those that were selected, were removed at once; without its last
    one a set stays as it is, and is shown no more. Raises DatasetError where several are all of them."""
    record = studio.datasets.get(safe_id(dataset_id, "set of pictures"))
    files = getattr(event, "files", None)
    names = files if isinstance(files, list) else [getattr(event, "file", None)]
    if record.images <= 1:
        return shown(studio, None)
    if len(names) > MOST_SELECTED:
        raise DatasetError(f"{len(names):,} pictures are too many at once.", "Remove them in several parts.")
    edits = [
        edit_of({"edit": RemovePicture.edit, "picture": name}) for name in dict.fromkeys(map(str, names))
    ]
    return shown(studio, studio.datasets.edit(record.id, edits, after=_after(event)), view)


def edited(studio: Studio, record: DatasetRecord, event: Any) -> DatasetRecord:
    """The set after a click on a picture's controls, on Undo or Redo, or on a version. The facts are a
    client's. Raises DatasetError."""
    change = getattr(event, "edit", None)
    if change == "undo":
        return studio.datasets.undo_edit(record.id, after=_after(event))
    if change == "redo":
        return studio.datasets.redo_edit(record.id, after=_after(event))
    if change in ("name", "go_to"):
        version = text(getattr(event, "version", None), "version", longest=LONGEST_NAME)
        if change == "go_to":
            return studio.datasets.go_to_version(record.id, version, after=_after(event))
        studio.datasets.name_version(record.id, version, after=_after(event), moves=False)
        return record
    facts = {name: getattr(event, name, None) for name in ("left", "top", "right", "bottom", "degrees")}
    given = {name: value for name, value in facts.items() if value is not None}
    edit = edit_of({"edit": change, "picture": getattr(event, "file", None), **given})
    return studio.datasets.edit(record.id, [edit], after=_after(event))


def _after(event: Any) -> str:
    """The state that the page showed when somebody clicked."""
    return text(getattr(event, "after", None), "after", longest=LONGEST_NAME)


def on_load(studio: Studio, kept: Any = None) -> list[Any]:
    """Values of `shown` and the choice of earlier sets after opening or reloading the page: the set that the
    browser kept (its id), else the newest that waits for its training."""
    records = sorted(studio.datasets.datasets(), key=lambda record: -record.created_at)
    used = {str(job.config.get("dataset", {}).get("train_data_dir")) for job in studio.jobs.jobs(limit=200)}
    newest = next((record for record in records[:1] if record.path not in used), None)
    draft = next((record for record in records if record.id == kept), newest)
    try:
        return [*shown(studio, draft), earlier_sets(records)]
    except StudioError:
        return [*shown(studio, None), earlier_sets(records)]


def earlier_sets(records: Sequence[DatasetRecord]) -> dict[str, Any]:
    """The choice of earlier sets, the newest ones; unseen while there is none."""
    choices = [
        (f"{record.name} ({counted(record.images, 'picture')}, {moment(record.created_at)})", record.id)
        for record in records[:SETS_LISTED]
    ]
    return gr.update(choices=choices, visible=bool(choices))
