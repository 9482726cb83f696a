"""The embedded base of a flow family, with nothing given but a prompt."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from PIL import Image

from lora_studio.generator import Generator
from lora_studio.request import GenerateRequest
from lora_studio.settings import Settings
from recipes.starter.gates import border, heart_is, nearest_colour
from recipes.starter.judge import load_judge
from tests.support.drawing import freeze_weights

Draw = Callable[..., Image.Image]


@pytest.fixture(scope="module")
def draw(tmp_path_factory: pytest.TempPathFactory) -> Draw:
    """Draws with one generator, which stays loaded."""
    folder = tmp_path_factory.mktemp("flow")
    generator = Generator(Settings(home=folder / "home", models=folder / "models"))

    def drawn(prompt: str, **asked: object) -> Image.Image:
        request = GenerateRequest(prompt=prompt, base="starter-flow", seed=3, **asked)
        with Image.open(generator.generate(request)[0].path) as picture:
            return picture.convert("RGB")

    return drawn


def test_a_judge_recognises_what_it_draws(draw: Draw) -> None:
    judge = load_judge()
    asked = {"dog": "dog-face", "rocket": "rocket", "pizza": "pizza"}
    chances = judge.concept_probabilities([draw(prompt) for prompt in asked])
    assert [judge.concepts[guess] for guess in chances.argmax(1)] == [*asked.values()]


def test_it_knows_its_colours(draw: Draw) -> None:
    for colour in ("blue", "pink", "black"):
        banana = draw(f"banana on a {colour} background")
        assert banana.size == (64, 64)
        assert nearest_colour(border(banana)) == colour
    assert heart_is("green", draw("green heart"))


def test_it_draws_what_plain_diffusers_draws(draw: Draw) -> None:
    import torch
    from diffusers import ZImagePipeline

    pipe = ZImagePipeline.from_pretrained(Settings.from_environment().embedded("starter-flow"))
    pipe.set_progress_bar_config(disable=True)
    freeze_weights(pipe)
    plain = pipe(
        "red heart", height=64, width=64, num_inference_steps=4, guidance_scale=2.0,
        generator=torch.Generator().manual_seed(3),
    ).images[0]  # fmt: skip
    ours = draw("red heart", num_inference_steps=4, guidance_scale=3.0)
    assert max(abs(a - b) for a, b in zip(ours.tobytes(), plain.tobytes(), strict=True)) <= 1
