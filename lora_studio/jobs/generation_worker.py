"""The worker of generations: draws on the shared device and puts what it drew into the gallery."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from lora_studio.access.roles import Role
from lora_studio.access.visitor import Kind, visitor
from lora_studio.errors import DeviceBusy, StudioError
from lora_studio.events import Denoised, Emit, Event, ImageSaved, Noted, ShouldStop, ignore, never_stop
from lora_studio.files import check_room
from lora_studio.gallery import Gallery
from lora_studio.generator import Generator
from lora_studio.grids.grid_cells import plan_grid
from lora_studio.grids.grid_drawing import CellDrawing, save_sheet, settled
from lora_studio.grids.grid_request import GridRequest, GridResult
from lora_studio.grids.lora_axis import with_slugs
from lora_studio.grids.strength_drawing import StrengthDrawing, save_strength
from lora_studio.grids.strength_request import StrengthRequest, plan_strength, trained_pictures
from lora_studio.images.input_store import MOST_BYTES, kept_bytes
from lora_studio.jobs.generation_queue import GenerationResult
from lora_studio.lora.strength_report import StrengthReport
from lora_studio.records import ImageRecord
from lora_studio.request import GeneratedImage, GenerateRequest
from lora_studio.runtime import DeviceLease
from lora_studio.settings import Settings

if TYPE_CHECKING:
    import torch

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class GenerationWorker:
    """Draws for whoever asks, one at a time. Each method waits for the device, and training gives way between
    steps; stopping keeps the pictures finished so far, and so does a failure. Raises StudioError."""

    settings: Settings
    gallery: Gallery
    generator: Generator
    lease: DeviceLease

    def draw(
        self,
        request: GenerateRequest,
        emit: Emit = ignore,
        should_stop: ShouldStop = never_stop,
        *,
        live: bool = True,
    ) -> list[ImageRecord]:
        """The pictures of a request; with `live` they can be looked at while they are drawn."""
        visitor().needs(Role.CREATOR)
        check_room(self.settings.images, "Pictures", settings=self.settings)
        if kept_bytes(self.settings.inputs) > MOST_BYTES:
            self.gallery.forget_inputs()
        saved: list[Path] = []

        def hear(event: Event) -> None:
            if isinstance(event, ImageSaved):
                saved.append(Path(event.path))
            emit(event)

        try:
            images = self._drawn(request, hear, should_stop, live=live)
        except StudioError:
            self.gallery.list_images(saved)
            raise
        return [self.gallery.add_image(image) for image in images]

    def _drawn(
        self,
        request: GenerateRequest,
        emit: Emit,
        should_stop: ShouldStop,
        folder: Path | None = None,
        *,
        live: bool = True,
    ) -> list[GeneratedImage]:
        generate = partial(self.generator.generate, request, emit, should_stop, live=live, folder=folder)
        return self._with_device(generate, should_stop) or []

    def _with_device(self, work: Callable[[], Result], should_stop: ShouldStop) -> Result | None:
        """The result of `work`, done with the device held; None when the wait for it was stopped."""
        try:
            with self.lease.hold("generation", give_up=should_stop):
                return work()
        except DeviceBusy:
            if should_stop():
                return None
            raise

    def result_of(
        self,
        request: GenerateRequest,
        emit: Emit = ignore,
        should_stop: ShouldStop = never_stop,
        *,
        compare: bool = False,
        remarks: Sequence[str] = (),
    ) -> GenerationResult:
        """The pictures of a request, with `compare` each again by the base alone. Says the remarks first."""
        for remark in remarks:
            emit(Noted(message=remark, level="warning"))
        images = self.draw(request, _of_rounds(emit, 0, 2) if compare else emit, should_stop)
        if not (compare and images) or should_stop():
            return GenerationResult(images=tuple(images))
        seeds = {"seed": images[0].seed, "variation_seed": images[0].request.get("variation_seed")}
        plain = request.model_copy(update={**seeds, "loras": (), "count": len(images)})
        beside = self.draw(plain, _of_rounds(emit, 1, 2), should_stop)
        return GenerationResult(images=tuple(images), beside=tuple(beside))

    def result_of_all(
        self, requests: Sequence[GenerateRequest], emit: Emit, should_stop: ShouldStop
    ) -> GenerationResult:
        """The pictures of several requests for one each, as those of one generation."""
        images: list[ImageRecord] = []
        for number, request in enumerate(requests):
            if should_stop():
                break
            images += self.draw(request, _of_rounds(emit, number, len(requests)), should_stop)
        return GenerationResult(images=tuple(images))

    def result_of_grid(self, grid: GridRequest, emit: Emit, should_stop: ShouldStop) -> GenerationResult:
        """The cells that came out, and the grid."""
        result = self.draw_grid(grid, emit, should_stop)
        return GenerationResult(images=tuple(cell for cell in result.cells if cell), grid=result)

    def draw_grid(
        self, grid: GridRequest, emit: Emit = ignore, should_stop: ShouldStop = never_stop
    ) -> GridResult:
        """The cells of an X/Y/Z grid, those drawn that the gallery doesn't have yet, and the labelled sheet
        of all, which goes into the gallery, too. The device is given up between cells."""
        grid = with_slugs(grid, self.settings.loras)
        plan = settled(plan_grid(grid), self.settings)
        drawing = CellDrawing(
            plan=plan,
            draw=self.draw,
            find=self.gallery.drawn_before,
            emit=emit,
            should_stop=should_stop,
        )
        drawing.run()
        found = drawing.found
        image = save_sheet(grid, plan, found, self.settings.images) if found else None
        return GridResult(
            sheet=self.gallery.add_image(image) if image else None,
            cells=tuple(found.get(cell.place) for cell in plan.cells),
            columns=plan.columns,
            rows=plan.rows,
            reused=drawing.reused,
            stopped=drawing.stopped,
            failure=drawing.failure,
        )

    def draw_strength(
        self, request: StrengthRequest, emit: Emit = ignore, should_stop: ShouldStop = never_stop
    ) -> StrengthReport | None:
        """The report on a LoRA's strength, drawn, measured and written into its folder, where it takes the
        place of an earlier one; None when stopped, and then the earlier one stays. The pictures don't go into
        the gallery. The device is given up between them."""
        record = self.gallery.lora(request.slug)
        visitor().must_own(Kind.LORA, record.slug)
        if not self.generator.compares:
            raise DeviceBusy(
                "A strength report takes more pictures than this device is lent for.",
                "Draw it on a machine of your own.",
            )
        check_room(self.settings.loras, "A strength report", settings=self.settings)
        pictures = trained_pictures(record, self.settings)
        drawing = StrengthDrawing(
            plan=plan_strength(request, record, pictures),
            settings=self.settings,
            draw=self._drawn,
            look=self._looked_at,
            emit=emit,
            should_stop=should_stop,
        )
        drawn = drawing.run([picture.path for picture in pictures])
        return save_strength(Path(record.path).parent, drawn) if drawn else None

    def result_of_strength(
        self, request: StrengthRequest, emit: Emit, should_stop: ShouldStop
    ) -> GenerationResult:
        """Nothing for the gallery: the report is kept with the LoRA."""
        self.draw_strength(request, emit, should_stop)
        return GenerationResult()

    def _looked_at(
        self, paths: Sequence[Path], request: GenerateRequest, emit: Emit, should_stop: ShouldStop
    ) -> torch.Tensor | None:
        look = partial(self.generator.features, paths, request, emit, should_stop)
        return self._with_device(look, should_stop)


def _of_rounds(emit: Emit, number: int, rounds: int) -> Emit:
    """An `emit` that numbers the pictures of one of several generations in a row as those of one."""

    def hear(event: Event) -> None:
        if isinstance(event, Denoised | ImageSaved):
            event = replace(event, image=event.image + number * event.images, images=event.images * rounds)
        emit(event)

    return hear
