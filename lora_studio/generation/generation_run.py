"""One request from what was asked for to pictures in the image folder: what it leaves open is settled, the
base is loaded, each picture is drawn and saved."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from lora_studio.errors import OutOfMemory
from lora_studio.events import (
    Denoised,
    Emit,
    Finished,
    ImageSaved,
    LivePreview,
    Noted,
    ShouldStop,
    Started,
    Stopped,
)
from lora_studio.families.base_files.found_base import FoundBase
from lora_studio.families.base_files.hub import must_fetch
from lora_studio.families.base_files.locate import find_base
from lora_studio.generation.defaults import loaded_values, values_of
from lora_studio.generation.memory_fit import draw_within, fit
from lora_studio.generation.pipelines import LoadedBase, Pipelines, compute_dtype
from lora_studio.generation.prompt_cache import EncodedTexts
from lora_studio.generation.reproducible import state_of
from lora_studio.generation.requests.folder_library import FolderLibrary
from lora_studio.generation.requests.settled_request import SettledImage, settle, steps_of
from lora_studio.images.image_metadata import Origin, save_image
from lora_studio.request import GeneratedImage, GenerateRequest
from lora_studio.runtime import find_device
from lora_studio.settings import Settings

if TYPE_CHECKING:
    from lora_studio.families.sampling import Step, Walk
    from lora_studio.generation.denoise import Drawing
    from lora_studio.generation.init_image import InitImage
    from lora_studio.generation.latent_preview import LiveView

AT_ONCE = 4
"""Most pictures that go through the denoiser together: more gain little."""
LONGEST = 8.0
"""Seconds that pictures may take together, by those of one alone: nobody waits longer for the next of them,
and Stop leaves no more undone."""
COARSEST = 0.02
"""Seconds by which some systems' clocks go on, so that a picture may seem to take none."""


class GenerationRun:
    """One call of `Generator.generate`; its pictures go into `folder`."""

    def __init__(
        self,
        settings: Settings,
        pipelines: Pipelines,
        texts: EncodedTexts,
        emit: Emit,
        should_stop: ShouldStop,
    ) -> None:
        self._settings = settings
        self.folder = settings.images
        self._library = FolderLibrary(settings)
        self._pipelines = pipelines
        self._texts = texts
        self._emit = emit
        self._should_stop = should_stop
        self._count = 0
        self._steps_done = 0
        self._most_together = AT_ONCE
        self._seconds_alone = math.inf
        self._said: set[str] = set()
        self._view: LiveView | None = None
        self._colours: Any = None

    def look_with(self, view: LiveView, colours: Any) -> None:
        """Show each picture while it is drawn; `colours` keeps what is found out about autoencoders."""
        self._view = view
        self._colours = colours

    def draw_all(self, request: GenerateRequest) -> list[GeneratedImage]:
        started, self._count = time.monotonic(), request.count
        found = find_base(request.base, self._settings)
        settled = settle(request, values_of(found), self._library)
        self._note_all(settled.notes)
        self._say_started(settled.request, found)
        images: list[GeneratedImage] = []
        base = None if self._should_stop() else self._pipelines.get(found, self._emit, self._should_stop)
        if base is not None:
            settled = settled.fitted_to(loaded_values(base), self._library)
            self._note_all(settled.notes)
            self._note_all(base.stack.apply(settled.loras))
            source = None if self._should_stop() else self._open_source(base, settled.request)
            begun: dict[int, Walk] = {}
            for number, image in enumerate(settled.images, 1):
                if not begun and not self._should_stop():
                    begun = self._begin(base, settled.images[number - 1 :], number)
                walk = begun.pop(number, None)
                saved = None if self._should_stop() else self._draw_one(base, image, source, number, walk)
                if saved is None:
                    break
                images.append(saved)
        last = images[-1].path if images else ""
        if len(images) == request.count:
            seconds = time.monotonic() - started
            self._emit(Finished(path=last, steps=self._steps_done, seconds=seconds))
        else:
            self._emit(Stopped(step=self._steps_done, path=last))
        return images

    def _begin(self, base: LoadedBase, images: Sequence[SettledImage], number: int) -> dict[int, Walk]:
        """The walks, by number, of those of the pictures from `number` on that go through the denoiser
        together; none where each goes alone."""
        from lora_studio.generation.denoise import most_together, walks_together

        # The first picture goes alone: it is seen soonest, and says how long the others would take.
        most = min(self._most_together, int(LONGEST / self._seconds_alone))
        if len(images) == 1 or most < 2:
            return {}
        self._learn_colours(base, images[0].request)
        fit(base, images[0].request, self._emit)
        most = min(most, most_together(base, images[0].request))
        if most == 1:
            return {}

        def on_steps(steps: Sequence[Step], total: int) -> None:
            self._say_denoised(number, steps[0].number, total, together=len(steps))
            self._look(base, steps[0], number, steps[0].number)

        loras = tuple((lora.key, lora.header.tensor_hash, lora.weight != 0) for lora in images[0].loras)
        try:
            drawings = [
                self._drawing(base, image, None, place) for place, image in enumerate(images[:most], number)
            ]
            if self._should_stop():
                return {}
            walks = walks_together(base, drawings, loras, on_steps, self._should_stop)
        except OutOfMemory:
            self._most_together = 1
            return {}
        return dict(enumerate(walks, number))

    def _drawing(
        self,
        base: LoadedBase,
        image: SettledImage,
        source: InitImage | None,
        number: int,
        walk: Walk | None = None,
    ) -> Drawing:
        from lora_studio.generation.denoise import Drawing, ProgressReporter

        text = self._texts.get(base.model, image, base.stack.words)

        def on_step(step: int, steps: int, at: Step) -> None:
            self._say_denoised(number, step, steps)
            self._look(base, at, number, step)

        watch = ProgressReporter(on_step=on_step, should_stop=self._should_stop, note=self._note)
        return Drawing(base, image, text, source, watch, walk)

    def _draw_one(
        self,
        base: LoadedBase,
        image: SettledImage,
        source: InitImage | None,
        number: int,
        walk: Walk | None,
    ) -> GeneratedImage | None:
        drawing = self._drawing(base, image, source, number, walk)
        self._learn_colours(base, image.request)
        if self._should_stop():
            return None
        if walk is not None and walk.number < len(walk.sampler):  # unsaid so far
            for step in range(walk.number):
                self._say_denoised(number, step + 1, len(walk.sampler))
        started = time.monotonic()
        picture = draw_within(base, image.request, self._emit, drawing.picture)
        if picture is None:
            return None
        if walk is None:
            self._seconds_alone = max(COARSEST, time.monotonic() - started)
        saved = save_image(picture, self.folder, self._origin(base, image))
        self._emit(ImageSaved(path=saved.path, seed=saved.seed, image=number, images=self._count))
        return saved

    def _origin(self, base: LoadedBase, image: SettledImage) -> Origin:
        return Origin(
            request=image.request,
            prompt=image.prompt,
            model=_plain_name(base.found),
            lora_hashes={lora.key: lora.header.tensor_hash for lora in image.loras},
            base_state=state_of(base.found, self._settings.precision, base.savers.qtype),
            negative_prompt=image.negative_prompt,
        )

    def _open_source(self, base: LoadedBase, request: GenerateRequest) -> InitImage | None:
        from lora_studio.generation.init_image import open_init_image

        if not request.image:
            return None
        codec, inputs = base.model.codec, self._settings.inputs
        opened = draw_within(base, request, self._emit, lambda: open_init_image(request, codec, inputs))
        base.rest()
        return opened

    def _learn_colours(self, base: LoadedBase, request: GenerateRequest) -> None:
        if self._view is None or base.model.codec in self._colours:
            return
        from lora_studio.generation.latent_preview import colours_of

        colours = draw_within(base, request, self._emit, lambda: colours_of(base.model.codec))
        base.rest()
        self._colours[base.model.codec] = colours

    def _say_denoised(self, image: int, step: int, steps: int, together: int = 1) -> None:
        self._steps_done += together
        count = self._count
        self._emit(Denoised(image=image, images=count, step=step, total_steps=steps, together=together))

    def _look(self, base: LoadedBase, at: Step, image: int, step: int) -> None:
        if self._view is None or not self._view.is_due:
            return
        path = self._view.show(at.guess(), self._colours[base.model.codec])
        if path:
            self._emit(LivePreview(image=image, step=step, path=path))
        elif self._view.failed:
            self._note(f"No live previews: they can't be written ({self._view.failed}).")

    def _say_started(self, request: GenerateRequest, found: FoundBase) -> None:
        device = find_device()
        first = ("download",) if must_fetch(found) else ()
        phases = () if self._pipelines.is_loaded(found) else (*first, "load")
        self._emit(
            Started(
                total_steps=steps_of(request) * request.count,
                phases=(*phases, "generate"),
                device=device.title,
                dtype=str(compute_dtype(device, self._settings.precision, found.traits.half)).removeprefix(
                    "torch."
                ),
                images=request.count,
            )
        )

    def _note_all(self, messages: Iterable[str]) -> None:
        for message in messages:
            self._note(message)

    def _note(self, message: str) -> None:
        """Each sentence once."""
        if message not in self._said:
            self._said.add(message)
            self._emit(Noted(message=message, level="warning"))


def _plain_name(found: FoundBase) -> str:
    """The base's name in pictures: hub ids and catalog names as they are, of a path only its end."""
    return found.name if found.layout == "hub" else PurePath(found.name).name
