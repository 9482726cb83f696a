"""Drawing and measuring of a strength report: a grid of prompts by weights, as any X/Y grid is drawn. It is
kept with the LoRA instead of in the gallery."""

from __future__ import annotations

import io
import secrets
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from lora_studio.catalog.strength_prompts import StrengthPrompts
from lora_studio.errors import StoreError, StudioError
from lora_studio.events import Emit, ShouldStop
from lora_studio.files import disk_errors, write_atomically
from lora_studio.grids.grid_cells import Cell, GridPlan
from lora_studio.grids.grid_drawing import CellDrawing, plain_name, settled
from lora_studio.images.contact_sheet import draw_sheet
from lora_studio.lora.checkpoint_report import even_choice
from lora_studio.lora.strength_report import (
    FOLDER,
    REPORT,
    SHEET,
    About,
    StrengthReport,
    StrengthRow,
    report_json,
    shown_weight,
)
from lora_studio.records import ImageRecord
from lora_studio.request import GeneratedImage, GenerateRequest, LoraUse
from lora_studio.settings import Settings

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

WEIGHTS = (0.4, 0.7, 1.0, 1.2)
SEED = 1000
"""One seed for all reports, so that those of two LoRAs can be laid beside each other."""
SIDE, QUALITY = 384, 90
"""Pixels of the kept pictures' longer side, and their quality as WebP."""
TITLES: dict[About, str] = {
    "subject": "with its trigger word",
    "plain": "the same without it",
    "neighbour": "its kind",
    "other": "something else",
}
MOST_REFERENCES = 16
"""Training pictures that the drawn ones are compared with."""
Draw = Callable[[GenerateRequest, Emit, ShouldStop, Path], list[GeneratedImage]]
LookAt = Callable[[Sequence[Path], GenerateRequest, Emit, ShouldStop], "torch.Tensor | None"]


@dataclass(frozen=True, kw_only=True)
class StrengthPlan:
    """A report to draw: the LoRA, as the report will name it, and the prompts. `weights` begin with 0."""

    slug: str
    title: str
    trigger_word: str
    base: str
    tensor_hash: str
    prompts: StrengthPrompts
    weights: tuple[float, ...] = (0.0, *WEIGHTS)
    seed: int = SEED

    @property
    def rows(self) -> list[tuple[About, str]]:
        asked: list[tuple[About, Sequence[str]]] = [
            ("subject", self.prompts.subject),
            ("plain", self.prompts.plain),
            ("neighbour", self.prompts.neighbours),
            ("other", self.prompts.others),
        ]
        return [(about, prompt) for about, prompts in asked for prompt in prompts]

    def grid(self) -> GridPlan:
        """The cells: weights to the right, prompts downwards with trigger words already in them."""
        asked = {"base": self.base, "seed": self.seed, "insert_trigger": False}
        start = GenerateRequest(**asked)
        cells = []
        for place, ((_, prompt), weight) in enumerate(product(self.rows, self.weights)):
            loras = (LoraUse.model_validate({"slug": self.slug, "weight": weight}),) if weight else ()
            cells.append(
                Cell(place=place, request=start.model_copy(update={"prompt": prompt, "loras": loras}))
            )
        return GridPlan(request=start, cells=tuple(cells), labels=(self._columns(), self._sides(), ("",)))

    def _columns(self) -> tuple[str, ...]:
        return tuple(f"weight {shown_weight(weight)}" if weight else "base" for weight in self.weights)

    def _sides(self) -> tuple[str, ...]:
        return tuple(f"{prompt} ({TITLES[about]})" for about, prompt in self.rows)


@dataclass(frozen=True, kw_only=True)
class DrawnStrength:
    """A measured report, rows without file names yet, and its cells' small pictures, None for undrawn."""

    plan: StrengthPlan
    report: StrengthReport
    pictures: Sequence[Image | None]


@dataclass(frozen=True, kw_only=True)
class StrengthDrawing:
    """One pass over the pictures of a report, with the events of one generation. `draw` makes the picture of
    a request in a folder, `look` gives what the request's base sees in picture files, None when stopped."""

    plan: StrengthPlan
    settings: Settings
    draw: Draw
    look: LookAt
    emit: Emit
    should_stop: ShouldStop

    def run(self, training: Sequence[Path]) -> DrawnStrength | None:
        """Draw and measure; None when stopped. `training` are pictures that the LoRA was trained on, where
        they are there. Raises StudioError, also where a grid would keep what is done so far."""
        grid = settled(self.plan.grid(), self.settings)
        folder = self.settings.cache / "strength" / secrets.token_hex(6)
        drawing = CellDrawing(
            plan=grid,
            draw=lambda request, emit, stop: [_record(one) for one in self.draw(request, emit, stop, folder)],
            find=lambda requests: [None] * len(requests),
            emit=self.emit,
            should_stop=self.should_stop,
        )
        try:
            drawing.run()
            if drawing.failure:
                raise StudioError(drawing.failure)
            if drawing.stopped:
                return None
            found = [drawing.found.get(cell.place) for cell in grid.cells]
            return self._measured(found, training)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _measured(
        self, found: Sequence[ImageRecord | None], training: Sequence[Path]
    ) -> DrawnStrength | None:
        paths = [Path(record.path) for record in found if record]
        first = next(record for record in found if record)
        asked = {"base": self.plan.base, "width": first.width, "height": first.height}
        size = GenerateRequest(**asked)
        references = [training[at] for at in even_choice(range(len(training)), MOST_REFERENCES)]
        features = self.look([*paths, *references], size, self.emit, self.should_stop)
        if features is None:
            return None
        report = report_on(self.plan, [record is not None for record in found], features)
        pictures = [_small(Path(record.path)) if record else None for record in found]
        return DrawnStrength(plan=self.plan, report=report, pictures=pictures)


def report_on(plan: StrengthPlan, drawn: Sequence[bool], features: torch.Tensor) -> StrengthReport:
    """The report, its rows without file names. `features` [n, d] are those of the drawn cells in their order,
    and of training pictures behind them."""
    from lora_studio.families.features.picture_features import on_one_scale

    columns = len(plan.weights)
    seen = iter(on_one_scale(features))
    table = _Table([next(seen) if there else None for there in drawn], columns, list(seen))
    rows = [
        StrengthRow(
            about=about,
            prompt=prompt,
            pictures=("",) * columns,
            changes=tuple(table.change(row, column) for column in range(columns)),
        )
        for row, (about, prompt) in enumerate(plan.rows)
    ]
    subjects = [row for row, (about, _) in enumerate(plan.rows) if about == "subject"]
    return StrengthReport(
        title=plan.title,
        trigger_word=plan.trigger_word,
        base=plain_name(plan.base),
        seed=plan.seed,
        weights=plan.weights,
        rows=tuple(rows),
        likeness=tuple(table.likeness(subjects, column) for column in range(columns)),
        variety=tuple(table.variety(subjects, column) for column in range(columns)),
        tensor_hash=plan.tensor_hash,
        made_at=time.time(),
    )


class _Table:
    """Features on one scale, by row and column; None where there is no picture. Column 0 is the base's."""

    def __init__(
        self, drawn: Sequence[torch.Tensor | None], columns: int, training: Sequence[torch.Tensor]
    ) -> None:
        from lora_studio.families.features.picture_features import spread

        self._rows = [drawn[at : at + columns] for at in range(0, len(drawn), columns)]
        self._base, self._training = self._stacked(range(len(self._rows)), 0), training
        self._usual = spread(self._base)

    def change(self, row: int, column: int) -> float | None:
        picture, base = self._rows[row][column], self._rows[row][0]
        if picture is None or base is None or not self._usual:
            return None
        return float((picture - base).norm()) / self._usual

    def likeness(self, rows: Sequence[int], column: int) -> float | None:
        import torch

        from lora_studio.families.features.picture_features import likeness

        there, base = self._stacked(rows, column), self._stacked(rows, 0)
        if not len(there) or not len(base) or not self._training:
            return None
        training = torch.stack(list(self._training))
        # Of the subject alone the base's pictures may be as near to the training pictures as these are.
        share, before = (likeness(pictures, self._base, training) for pictures in (there, base))
        return None if share is None or before is None else share - before

    def variety(self, rows: Sequence[int], column: int) -> float | None:
        from lora_studio.families.features.picture_features import spread

        there, base = self._stacked(rows, column), self._stacked(rows, 0)
        if len(there) < 2 or not spread(base):
            return None
        return spread(there) / spread(base)

    def _stacked(self, rows: Sequence[int], column: int) -> torch.Tensor:
        import torch

        there = [seen for row in rows if (seen := self._rows[row][column]) is not None]
        return torch.stack(there) if there else torch.empty(0, 0)


def save_strength(lora: Path, drawn: DrawnStrength) -> StrengthReport:
    """Write pictures, sheet and report into the LoRA's folder, in place of an earlier report. Returns the
    report with its file names. Raises StoreError."""
    grid = drawn.plan.grid()
    places = [divmod(place, grid.columns) for place in range(len(drawn.pictures))]
    names = [
        f"{row:02d}-{column:02d}.webp" if picture else ""
        for (row, column), picture in zip(places, drawn.pictures, strict=True)
    ]
    rows = [
        replace(row, pictures=tuple(names[at * grid.columns : (at + 1) * grid.columns]))
        for at, row in enumerate(drawn.report.rows)
    ]
    report = replace(drawn.report, rows=tuple(rows))
    folder, fresh = lora / FOLDER, lora / f".{FOLDER}.new"
    with disk_errors("The strength report", f"written to {lora.name}"):
        if not lora.is_dir():
            raise StoreError(
                "The LoRA was deleted while its report was drawn.", "Bring it back, and draw it again."
            )
        shutil.rmtree(fresh, ignore_errors=True)
        for name, picture in zip(names, drawn.pictures, strict=True):
            if picture:
                write_atomically(fresh / name, _webp(picture), lasting=False)
        write_atomically(fresh / SHEET, _webp(draw_sheet(drawn.pictures, grid.labels)), lasting=False)
        write_atomically(fresh / REPORT, report_json(report))
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)
    return report


def _record(image: GeneratedImage) -> ImageRecord:
    """A picture as a grid takes it, which no gallery has."""
    return ImageRecord(
        id="",
        path=image.path,
        thumbnail="",
        prompt=image.request.prompt,
        seed=image.seed,
        width=image.width,
        height=image.height,
        created_at=time.time(),
    )


def _small(path: Path) -> Image | None:
    """A picture in the size that is kept; None when its file is gone."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            shown = picture.convert("RGB")
    except OSError:
        return None
    shown.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return shown


def _webp(picture: Image) -> bytes:
    content = io.BytesIO()
    picture.save(content, format="WEBP", quality=QUALITY, method=4)
    return content.getvalue()
