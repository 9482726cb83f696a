"""One request from what was asked for to pictures in the image folder: what it leaves open is settled, the
base is loaded, each picture is drawn and saved."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

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
from lora_studio.generation.memory_fit import draw_within
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
    from lora_studio.families.sampling import Step
    from lora_studio.generation.init_image import InitImage
    from lora_studio.generation.latent_preview import LiveView


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
            for number, image in enumerate(settled.images, 1):
                saved = None if self._should_stop() else self._draw_one(base, image, source, number)
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

    def _draw_one(
        self, base: LoadedBase, image: SettledImage, source: InitImage | None, number: int
    ) -> GeneratedImage | None:
        from lora_studio.generation.denoise import Drawing, ProgressReporter

        text = self._texts.get(base.model, image, base.stack.words)
        self._learn_colours(base, image.request)

        def on_step(step: int, steps: int, at: Step) -> None:
            self._steps_done += 1
            self._emit(Denoised(image=number, images=self._count, step=step, total_steps=steps))
            self._look(base, at, number, step)

        if self._should_stop():
            return None
        watch = ProgressReporter(on_step=on_step, should_stop=self._should_stop, note=self._note)
        drawing = Drawing(base, image, text, source, watch)
        picture = draw_within(base, image.request, self._emit, drawing.picture)
        if picture is None:
            return None
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
