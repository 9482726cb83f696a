"""Front door: images from a prompt and any number of LoRAs, on base models that stay loaded."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_studio.events import Emit, ShouldStop, ignore, never_stop
from lora_studio.families.base_files.locate import find_base
from lora_studio.generation.generation_run import GenerationRun
from lora_studio.generation.memory_fit import draw_within
from lora_studio.generation.pipelines import LoadedBase, Pipelines
from lora_studio.generation.prompt_cache import EncodedTexts
from lora_studio.request import GeneratedImage, GenerateRequest
from lora_studio.runtime import lost_device
from lora_studio.settings import Settings

if TYPE_CHECKING:
    import torch

    from lora_studio.generation.latent_preview import LiveView


class Generator:
    """Makes images one request at a time. Whoever shares the device with a training holds its lease around
    `generate`. `compares` where it can look at many pictures, as `features` does."""

    compares = True

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pipelines = Pipelines(settings)
        self._texts = EncodedTexts()
        self._colours: Any = weakref.WeakKeyDictionary()  # of each autoencoder's latents, for live previews
        self._lock = threading.Lock()

    def generate(
        self,
        request: GenerateRequest,
        emit: Emit = ignore,
        should_stop: ShouldStop = never_stop,
        *,
        live: bool = False,
        folder: Path | None = None,
    ) -> list[GeneratedImage]:
        """Draw the images and write them into `folder`, or else the image folder, image i with seed + i (with
        a variation: of the same seed, with variation_seed + i); each is the same as when it is drawn alone
        with that seed. Stopping takes one denoising step and returns the images finished so far.

        Emits Started, PhaseAdvanced("load") when the base has to be loaded, Denoised, ImageSaved, and
        Finished or Stopped; Noted for what is ignored; with `live` up to three LivePreview a second.

        Raises ConfigError, StoreError, ModelFileError and its kin, OutOfMemory, Diverged, DeviceLost.
        """
        with self._lock:
            run = GenerationRun(self._settings, self._pipelines, self._texts, emit, should_stop)
            run.folder = folder or run.folder
            try:
                if not live:
                    return run.draw_all(request)
                with _live_view(self._settings) as view:
                    run.look_with(view, self._colours)
                    return run.draw_all(request)
            except RuntimeError as error:
                self._raise_lost(error)
                raise

    def features(
        self,
        pictures: Sequence[Path],
        request: GenerateRequest,
        emit: Emit = ignore,
        should_stop: ShouldStop = never_stop,
    ) -> torch.Tensor | None:
        """The features of picture files, [n, d], as the base of `request` sees them without LoRAs; None when
        stopped. `request` has width and height, which all pictures are cut to.

        Raises DatasetError for a picture that can't be read, ModelFileError and its kin, OutOfMemory."""
        with self._lock:
            try:
                found = find_base(request.base, self._settings)
                base = self._pipelines.get(found, emit, should_stop)
                if base is None:
                    return None
                base.stack.apply([])
                return draw_within(
                    base, request, emit, lambda: _features(base, pictures, request, should_stop)
                )
            except RuntimeError as error:
                self._raise_lost(error)
                raise

    def _raise_lost(self, error: RuntimeError) -> None:
        """Drop what is loaded, and raise DeviceLost where that is what happened."""
        self._drop()
        lost = lost_device(error)
        if lost is not None:
            raise lost from error

    def unload(self) -> None:
        """Free the memory of all loaded base models; waits for the request in work."""
        with self._lock:
            self._texts.clear()
            self._pipelines.clear()

    def _drop(self) -> None:
        """Drop all that is loaded: after a failure inside the device nothing on it can be trusted, and the
        next request loads afresh."""
        self._texts.clear()
        with contextlib.suppress(RuntimeError):  # a lost device can't even free its memory
            self._pipelines.clear()


def _features(
    base: LoadedBase, pictures: Sequence[Path], request: GenerateRequest, should_stop: ShouldStop
) -> torch.Tensor | None:
    import torch

    from lora_studio.generation.picture_looks import PictureLooks

    looks, found = PictureLooks(base, (request.width or 0, request.height or 0)), []
    for path in pictures:
        if should_stop():
            return None
        found.append(looks.features(path))
    return torch.stack(found)


@contextlib.contextmanager
def _live_view(settings: Settings) -> Iterator[LiveView]:
    from lora_studio.generation.latent_preview import LiveView

    view = LiveView(settings.cache / "live")
    try:
        yield view
    finally:
        view.close()
