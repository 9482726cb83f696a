from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch

from lora_studio.training.loss.noise_shapes import offset_noise, perturbed_input, pyramid_noise

GOLDEN = json.loads((Path(__file__).parent.parent / "golden" / "loss_weights.json").read_text())[
    "noise_examples"
]
LATENT = torch.tensor(GOLDEN["latents"]).view(4, 4, 4)
NOISE = torch.tensor(GOLDEN["noise"]).view(4, 4, 4)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def assert_golden(found: torch.Tensor, row: str) -> None:
    torch.testing.assert_close(found.flatten(), torch.tensor(GOLDEN[row]), rtol=2e-6, atol=2e-7)


def test_every_example_is_tested() -> None:
    own = {"offset_0.1", "offset_0.1_adaptive_0.05", "pyramid_6_0.3"}
    assert set(GOLDEN) == {"note", "latents", "noise", *own}


def test_noise_offset_is_kohyas() -> None:
    assert_golden(offset_noise(NOISE, 0.1, seeded(8)), "offset_0.1")


def test_adaptive_noise_offset_is_kohyas() -> None:
    found = offset_noise(NOISE, 0.1, seeded(8), latent=LATENT, adaptive=0.05)
    assert_golden(found, "offset_0.1_adaptive_0.05")


def test_an_adaptive_offset_is_never_negative() -> None:
    found = offset_noise(NOISE, 0.1, seeded(8), latent=LATENT + 100, adaptive=-1)
    assert torch.equal(found, NOISE)


def test_pyramid_noise_is_kohyas() -> None:
    factors = random.Random(9)
    found = pyramid_noise(
        NOISE, iterations=6, discount=0.3, generator=seeded(9), coarser=lambda: factors.random() * 2 + 2
    )
    assert_golden(found, "pyramid_6_0.3")


@pytest.mark.parametrize("size", [(8, 8), (1, 7), (5, 64)])
def test_pyramid_noise_has_a_deviation_of_1_at_any_size(size: tuple[int, int]) -> None:
    noise = torch.randn(4, *size, generator=seeded(1))
    found = pyramid_noise(noise, iterations=8, discount=0.5, generator=seeded(2))
    assert found.shape == noise.shape
    assert found.std() == pytest.approx(1, abs=1e-5)
    assert torch.equal(found, pyramid_noise(noise, iterations=8, discount=0.5, generator=seeded(2)))


def test_input_perturbation_adds_noise_of_its_strength() -> None:
    noise = torch.randn(4, 64, 64, generator=seeded(1))
    added = perturbed_input(noise, 0.1, seeded(2)) - noise
    assert added.std() == pytest.approx(0.1, rel=0.02)
