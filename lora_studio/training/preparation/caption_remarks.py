"""Remarks on the pictures and captions of a run before its first step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lora_studio.data.captions import plain_caption
from lora_studio.data.pixels.picture_remarks import length_remarks
from lora_studio.data.training_set.folders import Picture
from lora_studio.training.model import Engine


def caption_remarks(engine: Engine, pictures: Sequence[Picture]) -> Iterator[str]:
    """Remarks on captions that are cut."""
    settings = engine.config.model
    longest: dict[str, int] = {}
    for picture in pictures:
        caption = plain_caption(picture.caption, picture.settings)
        length = max(
            engine.base.prompts.count_caption(line, weighted=settings.weighted_captions)
            for line in caption.split("\n")
        )
        longest[picture.path.name] = max(length, longest.get(picture.path.name, 0))
    read, hint = engine.base.prompts.caption_limit(settings.max_token_length)
    yield from length_remarks([*longest.items()], read, hint)
