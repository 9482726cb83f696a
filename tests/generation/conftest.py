"""A studio with a tiny real base model called "tiny", and LoRA files with Kohya's names that fit it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from lora_studio.generator import Generator
from lora_studio.request import GeneratedImage, GenerateRequest
from lora_studio.settings import Settings
from tests.support.drawing import TINY, Draw, MakeLora
from tests.support.loras import write_lora


@pytest.fixture
def settings(settings: Settings, tiny_base: Path) -> Settings:
    shutil.copytree(tiny_base, settings.bases / "tiny")
    return settings


@pytest.fixture
def generator(settings: Settings) -> Generator:
    return Generator(settings)


@pytest.fixture
def make_lora(settings: Settings, tiny_base: Path) -> MakeLora:
    """make_lora("slug", seed=1, ...) puts a LoRA into the library; returns its file."""

    def make(slug: str, **options: Any) -> Path:
        return write_lora(settings.loras / slug / f"{slug}.safetensors", tiny_base, **options)

    return make


@pytest.fixture
def draw(generator: Generator) -> Draw:
    """draw(prompt=..., loras=["a", ("b", 0.5)]) with the tiny base, three steps, seed 7."""

    def call(*, loras: Any = (), **values: Any) -> list[GeneratedImage]:
        uses = [
            {"slug": use} if isinstance(use, str) else {"slug": use[0], "weight": use[1]} for use in loras
        ]
        return generator.generate(GenerateRequest(**{**TINY, "loras": uses, **values}))

    return call
