"""The guidance that a distilled base is told, beside the one that asks it twice."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import FluxImg2ImgPipeline, FluxInpaintPipeline, FluxPipeline
from PIL import Image

from lora_studio.events import Event, Noted
from lora_studio.generator import Generator
from lora_studio.images.infotext import restore
from lora_studio.images.input_store import keep
from lora_studio.request import GeneratedImage, GenerateRequest
from lora_studio.settings import Settings
from tests.support.drawing import difference, freeze_weights
from tests.support.tiny import make_tiny_flux

CALL = {"prompt": "a disc", "seed": 7, "num_inference_steps": 2, "width": 64, "height": 48}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_flux(tmp_path_factory.mktemp("f") / "base")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("kept")
    settings = Settings(home=folder / "home", models=folder / "models")
    settings.create_folders()
    return settings


@pytest.fixture(scope="module")
def generator(settings: Settings) -> Generator:
    return Generator(settings)


def draw(generator: Generator, base: Path | str, **values: object) -> tuple[GeneratedImage, list[str]]:
    events: list[Event] = []
    request = GenerateRequest(**{**CALL, "base": str(base), **values})
    (image,) = generator.generate(request, events.append)
    return image, [event.message for event in events if isinstance(event, Noted)]


def pixels(image: GeneratedImage) -> Image.Image:
    with Image.open(image.path) as found:
        return found.convert("RGB")


def plain(base: Path, kind: type = FluxPipeline, **values: object) -> Image.Image:
    pipe = kind.from_pretrained(base)
    pipe.set_progress_bar_config(disable=True)
    freeze_weights(pipe)
    call = {name: value for name, value in CALL.items() if name not in ("prompt", "seed")}
    generator = torch.Generator().manual_seed(7)
    found: Image.Image = pipe("a disc", generator=generator, **{**call, **values}).images[0]
    return found


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


@pytest.mark.parametrize("masked", [False, True])
def test_a_redrawn_picture_is_told_it_too(
    generator: Generator, settings: Settings, base: Path, masked: bool
) -> None:
    """As diffusers redraws it, and where a mask frees it, at a strength that leaves whole steps: it rounds
    others up for FLUX.1 and down elsewhere."""
    sides = [Image.linear_gradient("L").rotate(90 * turn) for turn in range(3)]
    picture, box = Image.merge("RGB", sides).resize((64, 48)), (16, 16, 48, 40)
    mask = Image.new("L", (64, 48))
    mask.paste(255, box)
    ours = {"image": keep(picture, settings.inputs)}
    theirs = {"image": picture, "strength": 0.5, "guidance_scale": 2.0}
    if masked:
        ours["mask_image"], theirs["mask_image"] = keep(mask, settings.inputs), mask
    image, _ = draw(generator, base, **ours, strength=0.5, mask_blur=0, distilled_guidance_scale=2)
    wanted = plain(base, FluxInpaintPipeline if masked else FluxImg2ImgPipeline, **theirs)
    assert difference(pixels(image).crop(box), wanted.crop(box)) <= 1


def test_a_base_that_takes_none_says_so(generator: Generator) -> None:
    image, notes = draw(generator, "starter", distilled_guidance_scale=2, height=64)
    assert "The distilled guidance is ignored: this base model takes none." in notes
    assert "Distilled CFG Scale: 2" in image.infotext
    image, notes = draw(generator, "starter", height=64)
    assert not notes
    assert "Distilled" not in image.infotext
