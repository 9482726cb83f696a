"""The interface of engines of captions, and the engines that there are. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from PIL import Image

from lora_studio.errors import ConfigError
from lora_studio.parsing.numbers import shown

TAGGER = "wd14"
"""The engine that takes the options of taggers."""
LARGEST_SIDE = 1024
"""Pixels of a side that most engines are given; each makes less of them."""


class Captioner(Protocol):
    """A loaded engine. `batch` is the number of pictures that it looks at together."""

    batch: int

    def prepared(self, image: Image.Image) -> Image.Image:
        """The part of an RGB picture that is kept in memory until its batch is complete."""
        image.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
        return image

    def captions(self, images: Sequence[Image.Image]) -> list[str]:
        """A caption for each picture that was prepared; empty where it can't tell. Raises OutOfMemory."""


@dataclass(frozen=True, kw_only=True)
class CaptionEngine:
    """An engine by its name. `source` is the usual model on the Hugging Face Hub; empty for one that comes
    with the studio. `files` are those of the model that it reads, none for all of them; `download_bytes` is
    what fetching them takes."""

    name: str
    title: str
    source: str
    download_bytes: int
    files: tuple[str, ...] = ()

    @property
    def fetch_command(self) -> str:
        """The command that brings the usual model into the Hub's cache."""
        return " ".join(["hf download", self.source, *self.files])


ENGINES: Mapping[str, CaptionEngine] = {
    engine.name: engine
    for engine in (
        CaptionEngine(
            name="starter",
            title="Starter",
            source="",
            download_bytes=0,
        ),
        CaptionEngine(
            name="blip",
            title="BLIP",
            source="Salesforce/blip-image-captioning-base",
            download_bytes=990_000_000,
        ),
        CaptionEngine(
            name="florence2",
            title="Florence-2",
            source="florence-community/Florence-2-base",
            download_bytes=470_000_000,
        ),
        CaptionEngine(
            name=TAGGER,
            title="WD14 tagger",
            source="SmilingWolf/wd-vit-tagger-v3",
            download_bytes=380_000_000,
            files=("model.onnx", "selected_tags.csv"),
        ),
    )
}


def engine_of(name: object) -> CaptionEngine:
    """The engine of this name. Raises ConfigError."""
    if isinstance(name, str) and name in ENGINES:
        return ENGINES[name]
    raise ConfigError(
        f"There is no engine {shown(name)}.", f"There are {', '.join(ENGINES)}.", field="engine"
    )
