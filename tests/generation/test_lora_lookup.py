"""What a request says of a LoRA: which of its files, how strongly in the denoiser and in the text encoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from lora_studio.errors import BrokenFile, ConfigError, StoreError
from lora_studio.generation.lora_lookup import find_loras
from lora_studio.generator import Generator
from lora_studio.request import GeneratedImage, GenerateRequest, LoraUse
from lora_studio.settings import Settings
from tests.support.drawing import TINY, MakeLora
from tests.support.loras import write_lora


def drawn(generator: Generator, *uses: LoraUse) -> bytes:
    images: Sequence[GeneratedImage] = generator.generate(GenerateRequest(**{**TINY, "loras": uses}))
    return Image.open(images[0].path).tobytes()


@pytest.fixture
def with_checkpoints(settings: Settings, tiny_base: Path) -> Settings:
    """A LoRA "cat" of 30 steps with the checkpoints 10 and 20, and each of these as a LoRA of its own."""
    for seed, step in enumerate((10, 20, 30)):
        folder = settings.loras / "cat"
        file = (
            folder / "checkpoints" / f"cat-step{step:08d}.safetensors"
            if step < 30
            else folder / "cat.safetensors"
        )
        for path in (file, settings.loras / f"cat{step}" / f"cat{step}.safetensors"):
            write_lora(path, tiny_base, seed=seed, metadata={"ss_steps": str(step)})
    return settings


def test_a_weight_of_zero_in_the_text_encoder_leaves_the_denoisers_part(
    generator: Generator, make_lora: MakeLora
) -> None:
    make_lora("both", seed=1)
    make_lora("denoiser", seed=1, text_encoder=False)  # the same random numbers
    alone = drawn(generator, LoraUse(slug="denoiser"))
    assert drawn(generator, LoraUse(slug="both", text_encoder_weight=0)) == alone
    assert drawn(generator, LoraUse(slug="both")) != alone


def test_the_text_encoder_can_have_all_of_the_weight(generator: Generator, make_lora: MakeLora) -> None:
    make_lora("both", seed=1, strength=0.6)
    make_lora("denoiser", seed=2, text_encoder=False)
    plain = drawn(generator)
    text_only = drawn(generator, LoraUse(slug="both", weight=0, text_encoder_weight=1))
    assert text_only not in (plain, drawn(generator, LoraUse(slug="both")))
    assert drawn(generator, LoraUse(slug="denoiser", weight=0, text_encoder_weight=1)) == plain
    assert drawn(generator, LoraUse(slug="both", weight=0, text_encoder_weight=0)) == plain
    same = drawn(generator, LoraUse(slug="both", weight=0.5))
    assert drawn(generator, LoraUse(slug="both", weight=0.5, text_encoder_weight=0.5)) == same


def test_a_checkpoint_is_used_instead_of_the_file(generator: Generator, with_checkpoints: Settings) -> None:
    for step in (10, 20, 30):
        wanted = drawn(generator, LoraUse(slug=f"cat{step}"))
        assert drawn(generator, LoraUse(slug="cat", checkpoint=step)) == wanted
    assert drawn(generator, LoraUse(slug="cat")) == wanted, "the file is of the last step"
    assert drawn(generator, LoraUse(slug="cat", checkpoint=10)) != wanted


def test_two_checkpoints_of_a_lora_go_together(generator: Generator, with_checkpoints: Settings) -> None:
    first, second = (LoraUse(slug="cat", checkpoint=step, weight=0.5) for step in (10, 20))
    apart = [LoraUse(slug=f"cat{step}", weight=0.5) for step in (10, 20)]
    assert drawn(generator, first, second) == drawn(generator, second, first) == drawn(generator, *apart)
    with pytest.raises(ConfigError, match="“cat” is in the list twice"):
        drawn(generator, first, first)


def test_a_step_that_was_not_kept_is_told_with_those_that_were(with_checkpoints: Settings) -> None:
    with pytest.raises(StoreError) as caught:
        find_loras([LoraUse(slug="cat", checkpoint=15)], with_checkpoints.loras)
    assert caught.value.message == "“cat” has no checkpoint of step 15."
    assert caught.value.hint == "There are: 10, 20, 30."


def test_a_lora_without_checkpoints_says_so(settings: Settings, make_lora: MakeLora) -> None:
    make_lora("a")
    with pytest.raises(StoreError, match="It has none; leave the field empty"):
        find_loras([LoraUse(slug="a", checkpoint=1)], settings.loras)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_no_numbers_are_refused(
    generator: Generator, make_lora: MakeLora, value: float
) -> None:
    make_lora("good")
    plain = drawn(generator, LoraUse(slug="good"))
    make_lora("bad", strength=value)
    with pytest.raises(BrokenFile, match="“bad” is damaged: it holds values that are no numbers") as caught:
        drawn(generator, LoraUse(slug="good"), LoraUse(slug="bad"))
    assert "Get the file again" in caught.value.hint
    assert drawn(generator, LoraUse(slug="good")) == plain
