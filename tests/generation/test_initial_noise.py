"""Variations: what lies between the noise of two seeds."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from lora_studio.generation.initial_noise import InitialNoise, slerp
from lora_studio.images.input_store import keep
from lora_studio.request import MAX_SEED, GenerateRequest
from lora_studio.settings import Settings
from tests.support.drawing import Draw, pixels

SHAPE = (1, 4, 32, 32)


def noise(strength: float, seed: int = 7, second: int = 9) -> torch.Tensor:
    request = GenerateRequest(seed=seed, variation_seed=second, variation_strength=strength)
    return InitialNoise(request).draw(SHAPE, torch.float32)


def test_the_ends_are_the_seeds_own_noise_to_the_bit() -> None:
    first, second = (torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed)) for seed in (7, 9))
    assert noise(0.0).equal(first)
    assert noise(1.0).equal(second)


def test_between_them_it_stays_noise() -> None:
    """A mean would have 0.7 of the deviation half-way."""
    for strength in (0.1, 0.5, 0.9):
        mixed = noise(strength)
        assert mixed.std().item() == pytest.approx(1, abs=0.03)
        assert mixed.mean().item() == pytest.approx(0, abs=0.03)
    nearness = [
        torch.cosine_similarity(noise(s).flatten(), noise(0).flatten(), dim=0) for s in (0.1, 0.5, 0.9)
    ]
    assert nearness == sorted(nearness, reverse=True)
    assert nearness[0] > 0.95


def test_slerp_of_two_directions() -> None:
    right, up = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    assert torch.allclose(slerp(right, up, 1 / 3), torch.tensor([3**0.5 / 2, 0.5]))
    assert slerp(right, right, 0.4).equal(right), "no angle to divide by"


@pytest.mark.parametrize("sampler", ["DDIM", "Euler a"])
def test_pictures_at_both_ends(draw: Draw, sampler: str) -> None:
    plain, other = (pixels(draw(sampler=sampler, seed=seed)[0]) for seed in (7, 9))
    ends = [
        pixels(draw(sampler=sampler, variation_seed=9, variation_strength=strength)[0])
        for strength in (0, 0.3, 1)
    ]
    assert ends[0] == plain
    assert ends[2] == other
    assert ends[1] not in (plain, other)


def test_several_variations_are_of_one_picture(draw: Draw) -> None:
    """The seed stays, the second seed counts up; each is the same as alone."""
    values = {"variation_strength": 0.2, "variation_seed": MAX_SEED}
    row = draw(**values, count=2)
    assert [(image.request.seed, image.request.variation_seed) for image in row] == [(7, MAX_SEED), (7, 0)]
    assert pixels(row[1]) == pixels(draw(**{**values, "variation_seed": 0})[0]) != pixels(row[0])


def test_a_second_seed_is_drawn_where_none_is_given(draw: Draw) -> None:
    image = draw(variation_strength=0.2)[0]
    assert image.request.variation_seed is not None
    again = draw(variation_strength=0.2, variation_seed=image.request.variation_seed)[0]
    assert pixels(again) == pixels(image)
    assert draw()[0].request.variation_seed is None


def test_redrawn_pictures_vary_too(draw: Draw, settings: Settings) -> None:
    digest = keep(Image.linear_gradient("L").resize((64, 64)).convert("RGB"), settings.inputs)
    values = {"image": digest, "strength": 0.7, "variation_seed": 9}
    results = [pixels(draw(**values, variation_strength=strength)[0]) for strength in (0, 0.5, 1)]
    assert len(set(results)) == 3
    assert results[2] == pixels(draw(image=digest, strength=0.7, seed=9)[0])
