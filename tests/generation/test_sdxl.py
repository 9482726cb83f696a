"""Everything around generation works with a base of two text encoders, too."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from diffusers import StableDiffusionXLPipeline

from lora_studio.config import TrainConfig
from lora_studio.errors import FamilyMismatch
from lora_studio.generator import Generator
from lora_studio.request import GeneratedImage, GenerateRequest
from lora_studio.settings import Settings
from lora_studio.trainer import train
from tests.support.drawing import TINY, MakeLora, pixels
from tests.support.tiny import make_pictures, make_tiny_sdxl, tiny_values


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_sdxl(tmp_path_factory.mktemp("bases") / "large")


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA for both text encoders and the denoiser."""
    folder = tmp_path_factory.mktemp("lora")
    values = tiny_values(base, make_pictures(folder / "pictures"), folder / "disc", max_train_steps=3)
    return Path(train(TrainConfig.from_values({**values, "learning_rate": 0.2})).path)


@pytest.fixture
def large(settings: Settings, base: Path) -> Path:
    return shutil.copytree(base, settings.bases / "large")


def drawn(generator: Generator, **values: object) -> GeneratedImage:
    request = GenerateRequest(**{**TINY, "base": "large", "num_inference_steps": 2, **values})
    return generator.generate(request)[0]


def test_a_lora_goes_on_and_off_as_in_plain_diffusers(
    settings: Settings, generator: Generator, large: Path, trained: Path
) -> None:
    shutil.copytree(trained, settings.loras / "disc")
    plain = pixels(drawn(generator))
    with_lora = drawn(generator, loras=[{"slug": "disc"}])
    assert pixels(with_lora) != plain
    assert pixels(drawn(generator)) == plain
    pipe = StableDiffusionXLPipeline.from_pretrained(large)
    pipe.load_lora_weights(str(trained))
    assert len(pipe.get_list_adapters()) == 3
    shape = {"width": with_lora.width, "height": with_lora.height}
    assert shape == {"width": 64, "height": 64}


def test_loras_of_another_family_are_refused_with_a_sentence(
    generator: Generator, large: Path, make_lora: MakeLora
) -> None:
    make_lora("small")
    with pytest.raises(
        FamilyMismatch, match=r"made for Stable Diffusion 1.x; “large” is Stable Diffusion XL"
    ):
        drawn(generator, loras=[{"slug": "small"}])
