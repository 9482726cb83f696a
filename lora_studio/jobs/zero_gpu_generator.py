"""Drawing on ZeroGPU, which lends its GPU to single calls of a function, each in a forked process. The
request goes in; events and pictures come out, one after the other; nothing else comes back."""

from __future__ import annotations

import queue
import secrets
import threading
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from lora_studio.access.visitor import on_behalf
from lora_studio.errors import DeviceBusy, StudioError
from lora_studio.events import Emit, Event, Noted, ShouldStop, ignore, never_stop
from lora_studio.families.base_files.locate import find_base
from lora_studio.generation.defaults import values_of
from lora_studio.generation.requests.folder_library import FolderLibrary
from lora_studio.generation.requests.settled_request import settle
from lora_studio.generator import Generator
from lora_studio.parsing.plain_text import plain_text
from lora_studio.request import GeneratedImage, GenerateRequest
from lora_studio.settings import Settings

LOAD_SECONDS, LONGEST_SECONDS = 30.0, 120.0
STEP_SECONDS = 0.15
"""Seconds of GPU that a denoising step of a million pixels is asked for; a guess, never measured there."""
ENDED = None
QUOTA = "Its visitors have a daily share of GPU time: log in to huggingface.co, or come back later."

News = Event | StudioError | list[GeneratedImage]


class ZeroGpuGenerator(Generator):
    """A generator whose pictures are drawn by `spaces.GPU`. Outside of ZeroGPU that lends nothing and forks
    nothing, and the same code draws in this process. It compares no pictures: a strength report would take
    many times what a visitor is lent. `refusal` is the error by which `spaces` says that it lends nothing:
    Gradio's, which belongs to the page."""

    compares = False

    def __init__(self, settings: Settings, refusal: type[Exception]) -> None:
        super().__init__(settings)
        self._refusal = refusal
        import spaces  # type: ignore[import-not-found, unused-ignore]  # its Spaces bring it

        self._lent: Callable[..., Iterator[News]] = spaces.GPU(duration=seconds_of)(draw)

    def generate(
        self,
        request: GenerateRequest,
        emit: Emit = ignore,
        should_stop: ShouldStop = never_stop,
        *,
        live: bool = False,
        folder: Path | None = None,
    ) -> list[GeneratedImage]:
        """Draw as `Generator.generate` does. Raises DeviceBusy too, with the Space's words, when no GPU is
        lent.

        The other process knows no visitor: all that the request names is looked up here, on behalf of who
        asks."""
        base = values_of(find_base(request.base, self._settings))
        settled = settle(request, base, FolderLibrary(self._settings))
        for note in settled.notes:
            emit(Noted(message=note, level="warning"))
        asked_to_stop = self._settings.cache / f"stop-{secrets.token_hex(8)}"
        images: list[GeneratedImage] = []
        try:
            for news in self._lent(self._settings, settled.request, str(asked_to_stop), live, folder):
                if isinstance(news, StudioError):
                    raise news
                if isinstance(news, list):
                    images = news
                else:
                    emit(news)
                if should_stop():
                    asked_to_stop.touch()
        except self._refusal as error:
            words = plain_text(str(getattr(error, "message", error)), 300)
            raise DeviceBusy(f"ZeroGPU lends no GPU: {words}", QUOTA) from error
        finally:
            asked_to_stop.unlink(missing_ok=True)
        return images


def seconds_of(
    settings: Settings, request: GenerateRequest, asked_to_stop: str, live: bool, folder: Path | None = None
) -> int:
    """Seconds of GPU to ask for, which count against the visitor's share."""
    values = request.model_dump()
    steps = values.get("num_inference_steps") or 30
    pixels = (values.get("width") or 1024) * (values.get("height") or 1024)
    drawing = request.count * steps * STEP_SECONDS * max(0.25, pixels / 1e6)
    return round(min(LONGEST_SECONDS, LOAD_SECONDS + drawing))


def draw(
    settings: Settings, request: GenerateRequest, asked_to_stop: str, live: bool, folder: Path | None = None
) -> Iterator[News]:
    """Draw in this process, and give out each event as it comes, then the pictures, or the error. Stops once
    the file `asked_to_stop` is there: files are all that the two processes share."""
    news: queue.Queue[Any] = queue.Queue()

    def work() -> None:
        try:
            stop = Path(asked_to_stop).exists
            news.put(generator_here(settings).generate(request, news.put, stop, live=live, folder=folder))
        except StudioError as error:
            news.put(error)
        except (RuntimeError, OSError, ValueError) as error:  # a bug, said where it is drawn and here
            news.put(error)
        finally:
            news.put(ENDED)

    thread = threading.Thread(target=on_behalf(work), name="zero-gpu", daemon=True)
    thread.start()
    while (one := news.get()) is not ENDED:
        if isinstance(one, Exception) and not isinstance(one, StudioError):
            raise one
        yield one
    thread.join()


@lru_cache(maxsize=1)
def generator_here(settings: Settings) -> Generator:
    """The generator of this process, which a process that is lent the GPU again still has."""
    return Generator(settings)
