"""The guidance that a distilled base is told, beside the one that asks it twice."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import FluxPipeline
from PIL import Image, ImageChops

from lora_studio.events import Event, Noted
from lora_studio.generator import Generator
from lora_studio.images.infotext import restore
from lora_studio.request import GeneratedImage, GenerateRequest
from lora_studio.settings import Settings
from tests.support.tiny import make_tiny_flux

CALL = {"prompt": "a disc", "seed": 7, "num_inference_steps": 2, "width": 64, "height": 48}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_flux(tmp_path_factory.mktemp("f") / "base")


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Generator:
    folder = tmp_path_factory.mktemp("kept")
    settings = Settings(home=folder / "home", models=folder / "models")
    settings.create_folders()
    return Generator(settings)


def draw(generator: Generator, base: Path | str, **values: object) -> tuple[GeneratedImage, list[str]]:
    events: list[Event] = []
    request = GenerateRequest.build(**{**CALL, "base": str(base), **values})
    (image,) = generator.generate(request, events.append)
    return image, [event.message for event in events if isinstance(event, Noted)]


def pixels(image: GeneratedImage) -> Image.Image:
    with Image.open(image.path) as found:
        return found.convert("RGB")


def plain(base: Path, **values: object) -> Image.Image:
    pipe = FluxPipeline.from_pretrained(base)
    pipe.set_progress_bar_config(disable=True)
    call = {name: value for name, value in CALL.items() if name not in ("prompt", "seed")}
    found: Image.Image = pipe("a disc", generator=torch.Generator().manual_seed(7), **call, **values).images[
        0
    ]
    return found


def difference(one: Image.Image, other: Image.Image) -> int:
    return max(high for _, high in ImageChops.difference(one, other).getextrema())


def test_the_base_is_told_its_usual_one_and_the_picture_says_so(generator: Generator, base: Path) -> None:
    image, notes = draw(generator, base)
    assert not notes
    assert difference(pixels(image), plain(base)) <= 1
    assert "CFG scale: 1," in image.infotext
    assert "Distilled CFG Scale: 3.5" in image.infotext
    restored = restore(image.infotext).request
    assert (restored.guidance_scale, restored.distilled_guidance_scale) == (1.0, 3.5)


def test_another_one_is_another_picture_and_asking_twice_is_beside_it(
    generator: Generator, base: Path
) -> None:
    image, _ = draw(generator, base, distilled_guidance_scale=30)
    assert difference(pixels(image), plain(base, guidance_scale=30.0)) <= 1
    assert difference(pixels(image), plain(base)) > 1
    asked, _ = draw(generator, base, guidance_scale=4, negative_prompt="no", distilled_guidance_scale=1.5)
    twice = plain(base, guidance_scale=1.5, true_cfg_scale=4.0, negative_prompt="no")
    assert difference(pixels(asked), twice) <= 1


def test_a_base_that_takes_none_says_so(generator: Generator) -> None:
    image, notes = draw(generator, "starter", distilled_guidance_scale=2, height=64)
    assert "The distilled guidance is ignored: this base model takes none." in notes
    assert "Distilled CFG Scale: 2" in image.infotext
    image, notes = draw(generator, "starter", height=64)
    assert not notes
    assert "Distilled" not in image.infotext
