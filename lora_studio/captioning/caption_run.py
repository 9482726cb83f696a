"""A run of an engine over pictures, in batches. A picture's fault ends no more than its own caption."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from PIL import Image

from lora_studio.captioning.caption_template import CaptionTemplate
from lora_studio.captioning.captioner import Captioner
from lora_studio.data.pixels.picture_pixels import open_picture
from lora_studio.errors import DatasetError, OutOfMemory
from lora_studio.events import Emit, PhaseAdvanced, ShouldStop, ignore, never_stop
from lora_studio.formatting import about
from lora_studio.parsing.plain_text import plain_text
from lora_studio.runtime import memory_errors

PHASE = "caption"
LONGEST_REASON = 300
"""Characters of the reason why a picture has no caption."""
KEPT_AT_ONCE = 200
"""Pictures whose captions are kept together: what a power cut can take."""
UNTOLD = "The engine can't tell what it shows."


@dataclass(kw_only=True)
class CaptionedPictures:
    """A run's captions by picture, and why others have none; `was_stopped` before it had seen all."""

    captions: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    was_stopped: bool = False


def caption_pictures(
    captioner: Captioner,
    pictures: Mapping[str, Path],
    template: CaptionTemplate,
    *,
    keep: Callable[[dict[str, str]], object] = lambda captions: None,
    emit: Emit = ignore,
    should_stop: ShouldStop = never_stop,
) -> CaptionedPictures:
    """Caption pictures, by name; `keep` gets the captions from time to time, each once. Emits PhaseAdvanced
    in pictures, with the time that is left. A picture that fails with others is tried again by itself."""
    run, begun, waiting, names = CaptionedPictures(), time.monotonic(), dict[str, str](), iter(pictures)
    try:
        while batch := list(islice(names, captioner.batch)):
            if should_stop():
                run.was_stopped = True
                break
            for name, caption in _captioned(captioner, batch, pictures, run.failed):
                waiting[name] = run.captions[name] = template.of(caption)
            if len(waiting) >= KEPT_AT_ONCE:
                written, waiting = waiting, {}
                keep(written)
            done = len(run.captions) + len(run.failed)
            left = (time.monotonic() - begun) / done * (len(pictures) - done)
            note = f"{about(left)} left" if done < len(pictures) else ""
            emit(PhaseAdvanced(phase=PHASE, done=done, total=len(pictures), note=note))
    finally:
        if waiting:
            keep(waiting)
    return run


def _captioned(
    captioner: Captioner, names: Sequence[str], pictures: Mapping[str, Path], failed: dict[str, str]
) -> Iterator[tuple[str, str]]:
    """Pictures of a batch with their captions; those without are put into `failed` with the reason."""
    opened = {}
    for name in names:
        try:
            opened[name] = captioner.prepared(open_picture(pictures[name]))
        except DatasetError as error:
            failed[name] = plain_text(str(error), LONGEST_REASON)
    for name, caption in zip(opened, _tried(captioner, list(opened.values())), strict=True):
        if isinstance(caption, str) and caption:
            yield name, caption
        else:
            failed[name] = plain_text(str(caption), LONGEST_REASON) or UNTOLD


def _tried(captioner: Captioner, images: list[Image.Image]) -> list[str | OutOfMemory | RuntimeError]:
    """A caption of each picture, or what went wrong even with this one alone."""
    try:
        with memory_errors("this picture", "Close other programs."):
            return [*captioner.captions(images)] if images else []
    except (OutOfMemory, RuntimeError, ValueError) as error:
        if len(images) == 1:
            return [error if isinstance(error, OutOfMemory | RuntimeError) else RuntimeError(str(error))]
        return [found for image in images for found in _tried(captioner, [image])]
