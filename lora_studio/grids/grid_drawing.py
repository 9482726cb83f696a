"""Drawing of a grid: cells are taken from the gallery or drawn, and all put on a sheet."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath, PureWindowsPath
from typing import TYPE_CHECKING, Any

from lora_studio.errors import BrokenFile, ConfigError, Diverged, StudioError
from lora_studio.events import (
    Denoised,
    Emit,
    Event,
    Finished,
    ImageSaved,
    LivePreview,
    Noted,
    ShouldStop,
    Started,
    Stopped,
)
from lora_studio.families.base_files.locate import find_base
from lora_studio.generation.defaults import values_of
from lora_studio.generation.requests.folder_library import FolderLibrary
from lora_studio.generation.requests.settled_request import settle, steps_of
from lora_studio.grids.axis_values import split_values
from lora_studio.grids.grid_cells import Cell, GridPlan, drawing_order, read_values
from lora_studio.grids.grid_request import AXES, Axis, GridRequest
from lora_studio.images.contact_sheet import Labels, cell_size, draw_sheet
from lora_studio.images.image_metadata import (
    CHUNK,
    PARAMETERS,
    SOFTWARE,
    picture_bytes,
    read_chunks,
    write_picture,
)
from lora_studio.images.infotext import NEGATIVE
from lora_studio.records import ImageRecord
from lora_studio.request import GeneratedImage, GenerateRequest
from lora_studio.settings import Settings

if TYPE_CHECKING:
    from PIL.Image import Image

Draw = Callable[[GenerateRequest, Emit, ShouldStop], list[ImageRecord]]
Find = Callable[[Sequence[GenerateRequest]], list[ImageRecord | None]]
GRID = "grid"
"""The key of the grid in our JSON of a sheet."""


@dataclass(kw_only=True)
class CellDrawing:
    """One pass over the cells of a grid, with the events of one generation. `draw` makes one picture and puts
    it into the gallery, `find` looks there for pictures of the very same requests."""

    plan: GridPlan
    draw: Draw
    find: Find
    emit: Emit
    should_stop: ShouldStop
    found: dict[int, ImageRecord] = field(default_factory=dict)
    """Pictures by the place of their cell."""
    reused: int = 0
    stopped: bool = False
    failure: str = ""
    """A sentence on why the grid ended early."""
    _refused: StudioError | None = None
    _started: bool = False
    _steps_done: int = 0
    _number: int = 0
    _noted: set[str] = field(default_factory=set)

    def run(self) -> None:
        """Draw the missing cells. Emits Started before the first drawing, then Denoised, LivePreview and
        ImageSaved with the number of the cell, and Finished or Stopped. A cell that came out as no numbers,
        or that the base can't draw, stays empty; any other error ends the grid, which keeps its finished
        pictures. Raises StudioError when there are none."""
        started = time.monotonic()
        missing = self._take_what_is_there()
        self._number = self.reused
        for cell in drawing_order(missing):
            if self.should_stop():
                self.stopped = True
                break
            self._number += 1
            if not self._draw_one(cell, missing):
                break
        if self._refused and not self.found:
            raise self._refused
        last = self.found[max(self.found)].path if self.found else ""
        if self.stopped or self.failure:
            self.emit(Stopped(step=self._steps_done, path=last))
        else:
            seconds = time.monotonic() - started
            self.emit(Finished(path=last, steps=self._steps_done, seconds=seconds))

    def _take_what_is_there(self) -> list[Cell]:
        missing = []
        there = self.find([cell.request for cell in self.plan.cells])
        for cell, record in zip(self.plan.cells, there, strict=True):
            if record is None:
                missing.append(cell)
            else:
                self.found[cell.place] = record
        self.reused = len(self.found)
        if self.reused:
            self._note(
                f"{self.reused} of {len(self.plan.cells)} pictures were in the gallery already.", "info"
            )
        return missing

    def _draw_one(self, cell: Cell, missing: Sequence[Cell]) -> bool:
        def hear(event: Event) -> None:
            self._hear(event, missing)

        same = next((self.found[o.place] for o in missing if self._is_like(o, cell)), None)
        if same is not None:
            self.found[cell.place] = same  # two values of an axis may come to the same
            return True
        try:
            records = self.draw(cell.request, hear, self.should_stop)
        except (Diverged, ConfigError) as error:
            self._refused = self._refused or error
            self._note(f"A field of the grid stays empty: {error}", "warning")
            return True
        except StudioError as error:
            if len(self.found) == self.reused:
                raise
            self.failure = str(error)
            self._note(f"The grid ended before its end: {error}", "warning")
            return False
        if not records:
            self.stopped = True
            return False
        self.found[cell.place] = records[0]
        return True

    def _is_like(self, other: Cell, cell: Cell) -> bool:
        return other.place in self.found and other.request == cell.request

    def _hear(self, event: Event, missing: Sequence[Cell]) -> None:
        """Pass on a cell's events as those of one picture of many."""
        images = len(self.plan.cells)
        match event:
            case Started():
                if not self._started:
                    total = sum(steps_of(cell.request) for cell in missing)
                    self._started = True
                    self.emit(replace(event, total_steps=total, images=images))
            case Denoised():
                self._steps_done += 1
                self.emit(replace(event, image=self._number, images=images))
            case ImageSaved():
                self.emit(replace(event, image=self._number, images=images))
            case LivePreview():
                self.emit(replace(event, image=self._number))
            case Noted():
                self._note(event.message, event.level)
            case Finished() | Stopped():
                pass
            case _:
                self.emit(event)

    def _note(self, message: str, level: Any) -> None:
        """Emit a sentence, each only once."""
        if message not in self._noted:
            self._noted.add(message)
            self.emit(Noted(message=message, level=level))


def settled(plan: GridPlan, settings: Settings) -> GridPlan:
    """The plan with all values of its cells filled in, as far as that needs no loaded base. Raises
    StudioError before anything is drawn for a base or a LoRA that is missing or doesn't fit."""
    library = FolderLibrary(settings)
    bases = {
        name: values_of(find_base(name, settings))
        for name in dict.fromkeys(c.request.base for c in plan.cells)
    }
    cells = []
    for cell in plan.cells:
        try:
            request = settle(cell.request, bases[cell.request.base], library).request
        except ConfigError as error:
            if error.field != "sampler" or len(bases) == 1:
                raise
            request = cell.request  # another base may have this sampler: the cell stays empty
        cells.append(replace(cell, request=request))
    return replace(plan, cells=tuple(cells))


def save_sheet(
    grid: GridRequest, plan: GridPlan, found: Mapping[int, ImageRecord], folder: Path
) -> GeneratedImage:
    """Write the sheet as a PNG into `folder`, with the grid's settings in it. Raises StoreError."""
    sizes = [(record.width, record.height) for record in found.values()]
    size = cell_size(sizes, plan.columns, plan.rows * len(plan.labels[2]))
    records = [found.get(cell.place) for cell in plan.cells]
    pictures = [opened(record, size) if record else None for record in records]
    sheet = draw_sheet(pictures, _plain_labels(grid, plan))
    first = found[min(found)]
    infotext = _sheet_infotext(first, grid)
    grid = grid.model_copy(update={"request": plan.request})
    request = plain_base(grid.request).model_dump(mode="json")
    values = {"version": 1, "software": SOFTWARE, "request": request, GRID: _plain_grid(grid)}
    data = picture_bytes(sheet, {PARAMETERS: infotext, CHUNK: json.dumps(values)})
    path = write_picture(data, folder, GRID, ".png")
    return GeneratedImage(
        path=str(path),
        width=sheet.width,
        height=sheet.height,
        seed=first.seed,
        infotext=infotext,
        request=grid.request,
    )


def _plain_labels(grid: GridRequest, plan: GridPlan) -> Labels:
    """The labels with bases by name only: sheets get passed on."""
    plain = [
        [f"{axis.title}: {plain_name(value)}" for value in read_values(axis)]
        if axis and axis.name == "base"
        else labels
        for axis, labels in zip(grid.axes, plan.labels, strict=True)
    ]
    return plain[0], plain[1], plain[2]


def plain_base(request: GenerateRequest) -> GenerateRequest:
    """The request with the base's name in place of a path on this machine."""
    return request.model_copy(update={"base": plain_name(request.base)})


def plain_name(base: str) -> str:
    """The last part of a path; names and hub ids stay whole."""
    if base.endswith(".safetensors"):
        return PureWindowsPath(base).name
    if PurePath(base).is_absolute() or base.startswith((".", "~")) or base.count("/") > 1:
        return PurePath(base).name
    return PureWindowsPath(base).name if "\\" in base else base


def _plain_grid(grid: GridRequest) -> dict[str, Any]:
    plain = grid.model_dump(mode="json", exclude={"request"})
    plain["request"] = plain_base(grid.request).model_dump(mode="json")
    for letter, axis in zip(AXES, grid.axes, strict=True):
        if axis:
            plain[letter]["values"] = _plain_values(axis)
    return plain


def _plain_values(axis: Axis) -> str:
    """The axis' line of values, without folders of this machine."""
    if axis.name != "base":
        return axis.values
    names = [plain_name(part) for part in split_values(axis.values)]
    return ", ".join(f'"{name}"' if "," in name else name for name in names)


def _sheet_infotext(first: ImageRecord, grid: GridRequest) -> str:
    """The infotext of a sheet, as A1111 has it: the first cell's settings, and the axes."""
    axes = ["Script: X/Y/Z plot"]
    for letter, axis in zip("XYZ", grid.axes, strict=True):
        if axis:
            values = json.dumps(_plain_values(axis), ensure_ascii=False)
            axes += [f"{letter} Type: {axis.title}", f"{letter} Values: {values}"]
    try:
        first_cell = read_chunks(first.path).get(PARAMETERS, "")
    except BrokenFile:  # gone meanwhile
        first_cell = ""
    return f"{first_cell}, {', '.join(axes)}" if first_cell else f"{NEGATIVE}\n{', '.join(axes)}"


def opened(record: ImageRecord, size: tuple[int, int]) -> Image | None:
    """The picture, no larger than `size`, since a grid may have a hundred; None when its file has gone."""
    from PIL import Image

    try:
        with Image.open(record.path) as picture:
            shown = picture.convert("RGB")
            shown.thumbnail(size, Image.Resampling.LANCZOS)
            return shown
    except OSError:
        return None
