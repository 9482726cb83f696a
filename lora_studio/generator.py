"""Front door: images from a prompt and any number of LoRAs, on base models that stay loaded."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import PurePath

from lora_studio.events import (
    Denoised,
    Emit,
    Finished,
    ImageSaved,
    Noted,
    ShouldStop,
    Started,
    Stopped,
    ignore,
    never_stop,
)
from lora_studio.families.detect import FoundBase, find_base
from lora_studio.generation.defaults import fill_in, fit_to, scheduler_for
from lora_studio.generation.denoise import draw
from lora_studio.generation.images import Origin, save_image
from lora_studio.generation.loras import WantedLora, check_family, find_loras
from lora_studio.generation.pipelines import LoadedBase, Pipelines, compute_dtype
from lora_studio.generation.prompts import cut_off, with_triggers
from lora_studio.request import MAX_SEED, GeneratedImage, GenerateRequest
from lora_studio.runtime import find_device
from lora_studio.settings import Settings


class Generator:
    """Makes images one request at a time. Whoever shares the device with a training holds its lease around
    `generate`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pipelines = Pipelines()
        self._lock = threading.Lock()

    def generate(
        self, request: GenerateRequest, emit: Emit = ignore, should_stop: ShouldStop = never_stop
    ) -> list[GeneratedImage]:
        """Draw the images and write them into the image folder, image i with seed + i; each is the same as
        when it is drawn alone with that seed. Stopping takes one denoising step and returns the images
        finished so far.

        Emits Started, PhaseAdvanced("load") when the base has to be loaded, Denoised, ImageSaved, and
        Finished or Stopped; Noted for what is ignored.

        Raises ConfigError, StoreError, ModelFileError and its kin, OutOfMemory, Diverged.
        """
        with self._lock:
            return _Run(self._settings, self._pipelines, emit, should_stop).draw_all(request)

    def unload(self) -> None:
        """Free the memory of all loaded base models; waits for the request in work."""
        with self._lock:
            self._pipelines.clear()


class _Run:
    """One call of `generate`."""

    def __init__(self, settings: Settings, pipelines: Pipelines, emit: Emit, should_stop: ShouldStop) -> None:
        self._settings = settings
        self._pipelines = pipelines
        self._emit = emit
        self._should_stop = should_stop
        self._steps_done = 0

    def draw_all(self, request: GenerateRequest) -> list[GeneratedImage]:
        started = time.monotonic()
        found = find_base(request.base, self._settings)
        request = fill_in(request, found)
        loras = find_loras(request.loras, self._settings.loras)
        for lora in loras:
            check_family(lora, found)
        self._say_started(request, found)
        images: list[GeneratedImage] = []
        if not self._should_stop():
            images = self._draw_with(self._pipelines.get(found, self._emit), request, loras)
        last = images[-1].path if images else ""
        if len(images) == request.count:
            seconds = time.monotonic() - started
            self._emit(Finished(path=last, steps=self._steps_done, seconds=seconds))
        else:
            self._emit(Stopped(step=self._steps_done, path=last))
        return images

    def _draw_with(
        self, base: LoadedBase, request: GenerateRequest, loras: Sequence[WantedLora]
    ) -> list[GeneratedImage]:
        request = fit_to(request, base.found, base.pipe, base.scheduler_config)
        base.stack.apply(loras)
        triggers = [lora.trigger_word for lora in loras] if request.insert_trigger else []
        prompt = with_triggers(request.prompt, triggers)
        self._note_what_is_ignored(base, request, prompt)
        images: list[GeneratedImage] = []
        for number in range(request.count):
            if self._should_stop():
                break
            origin = Origin(
                request=_alone(request, number),
                prompt=prompt,
                model=_plain_name(base.found),
                lora_hashes={lora.slug: lora.header.tensor_hash for lora in loras},
            )
            image = self._draw_one(base, origin, number + 1, request.count)
            if image is None:
                break
            images.append(image)
        return images

    def _draw_one(self, base: LoadedBase, origin: Origin, image: int, images: int) -> GeneratedImage | None:
        def on_step(step: int, steps: int) -> None:
            self._steps_done += 1
            self._emit(Denoised(image=image, images=images, step=step, total_steps=steps))

        base.pipe.scheduler = scheduler_for(origin.request, base.scheduler_config)
        picture = draw(
            base.pipe, origin.request, origin.prompt, on_step=on_step, should_stop=self._should_stop
        )
        if picture is None:
            return None
        saved = save_image(picture, self._settings.images, origin)
        self._emit(ImageSaved(path=saved.path, seed=saved.seed, image=image, images=images))
        return saved

    def _say_started(self, request: GenerateRequest, found: FoundBase) -> None:
        device = find_device()
        self._emit(
            Started(
                total_steps=(request.num_inference_steps or 0) * request.count,
                phases=("generate",) if self._pipelines.is_loaded(found) else ("load", "generate"),
                device=device.title,
                dtype=str(compute_dtype(device)).removeprefix("torch."),
                images=request.count,
            )
        )

    def _note_what_is_ignored(self, base: LoadedBase, request: GenerateRequest, prompt: str) -> None:
        for what, text in (("prompt", prompt), ("negative prompt", request.negative_prompt)):
            lost = cut_off(base.pipe.tokenizer, text)
            if lost:
                message = f"The {what} is too long for this base model; this end is ignored: “{lost}”"
                self._emit(Noted(message=message, level="warning"))
        if request.negative_prompt and (request.guidance_scale or 0) <= 1:
            message = "The negative prompt is ignored at a guidance of 1 or less."
            self._emit(Noted(message=message, level="warning"))


def _alone(request: GenerateRequest, number: int) -> GenerateRequest:
    """The request that draws image `number` (from 0) by itself. Seeds wrap around at the top."""
    seed = ((request.seed or 0) + number) % (MAX_SEED + 1)
    return request.model_copy(update={"seed": seed, "count": 1})


def _plain_name(found: FoundBase) -> str:
    """What pictures call the base: hub ids and catalog names as they are, of a path only its end."""
    return found.name if found.layout == "hub" else PurePath(found.name).name
