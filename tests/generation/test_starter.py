"""The embedded base model, with nothing given but a prompt."""

from __future__ import annotations

import pytest
from PIL import Image, ImageChops, ImageStat

from lora_studio.catalog import SAMPLERS
from lora_studio.generator import Generator
from lora_studio.images.input_store import keep
from lora_studio.request import GeneratedImage, GenerateRequest
from lora_studio.settings import Settings
from tests.support.drawing import freeze_weights
from tests.support.loras import write_lora


@pytest.fixture
def starter() -> Generator:
    return Generator(Settings.from_environment())


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Generator:
    """One that stays loaded for all samplers."""
    folder = tmp_path_factory.mktemp("kept")
    return Generator(Settings(home=folder / "home", models=folder / "models"))


def drawn(image: GeneratedImage) -> Image.Image:
    with Image.open(image.path) as picture:
        return picture.convert("RGB")


def test_it_draws_what_plain_diffusers_draws(starter: Generator) -> None:
    import torch
    from diffusers import StableDiffusionPipeline

    (image,) = starter.generate(GenerateRequest(prompt="red heart", seed=3))
    assert (image.width, image.height) == (64, 64)
    assert (image.request.sampler, image.request.num_inference_steps) == ("DDIM", 12)
    pipe = StableDiffusionPipeline.from_pretrained(Settings.from_environment().starter)
    pipe.set_progress_bar_config(disable=True)
    freeze_weights(pipe)
    plain = pipe(
        "red heart", num_inference_steps=12, guidance_scale=3.0, generator=torch.Generator().manual_seed(3)
    ).images[0]
    assert drawn(image).tobytes() == plain.tobytes()


def test_it_knows_its_colours(starter: Generator) -> None:
    red, green, blue = ImageStat.Stat(
        drawn(starter.generate(GenerateRequest(prompt="red heart on a blue background", seed=3))[0])
    ).mean
    assert blue > green, "most of the picture is background"
    (image,) = starter.generate(GenerateRequest(prompt="red heart", seed=3))
    red, green, blue = ImageStat.Stat(drawn(image).crop((24, 24, 40, 40))).mean
    assert red > green + 40
    assert red > blue + 40


def test_a_lora_of_kohyas_layers_fits(starter: Generator) -> None:
    settings = Settings.from_environment()
    write_lora(settings.loras / "ink" / "ink.safetensors", settings.starter, rank=4, strength=0.05)
    asked = {"prompt": "rocket", "num_inference_steps": 4, "seed": 3}
    (with_lora,) = starter.generate(GenerateRequest(**asked, loras=[{"slug": "ink"}]))
    (without,) = starter.generate(GenerateRequest(**asked))
    assert drawn(with_lora).tobytes() != drawn(without).tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_draws_a_heart(kept: Generator, sampler: str) -> None:
    """test_generator.py has it that each draws the same for a seed."""
    asked = {"prompt": "red heart on a blue background", "sampler": sampler, "seed": 3}
    (image,) = kept.generate(GenerateRequest(**asked, num_inference_steps=10))
    red, green, blue = ImageStat.Stat(drawn(image).crop((24, 24, 40, 40))).mean
    assert red > max(green, blue), "it is to be seen"


def test_how_far_a_redrawn_picture_goes_is_its_strength(starter: Generator) -> None:
    settings = Settings.from_environment()
    heart = drawn(starter.generate(GenerateRequest(prompt="red heart", seed=3))[0])
    digest = keep(heart, settings.inputs)
    far = []
    for strength in (0.2, 0.6, 1.0):
        (image,) = starter.generate(
            GenerateRequest(prompt="green apple", seed=3, image=digest, strength=strength)
        )
        difference = ImageChops.difference(drawn(image), heart)
        far.append(sum(ImageStat.Stat(difference).mean))
    assert far[0] < far[1] < far[2]
