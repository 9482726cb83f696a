from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers import DDPMScheduler

from lora_studio.families.ddpm import noised, plain_alphas, signal_to_noise, velocity, zero_terminal

GOLDEN = json.loads((Path(__file__).parent.parent / "golden" / "loss_weights.json").read_text())
SD1 = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
ALPHAS = DDPMScheduler(**SD1).alphas_cumprod
TIMESTEPS = torch.tensor(GOLDEN["timesteps"])


def assert_golden(found: torch.Tensor, expected: list[float]) -> None:
    """Equal within 2e-6 of each number: 32-bit arithmetic in another order."""
    torch.testing.assert_close(found, torch.tensor(expected), rtol=2e-6, atol=0)


def test_schedule_and_signal_to_noise_are_kohyas() -> None:
    assert_golden(ALPHAS[TIMESTEPS], GOLDEN["alphas_cumprod"])
    assert_golden(signal_to_noise(ALPHAS, TIMESTEPS), GOLDEN["snr"])


def test_a_schedule_that_ends_in_pure_noise_is_kohyas() -> None:
    """The reference goes by way of the betas, so its products of a thousand factors are off by up to 2e-5."""
    expected = torch.tensor(GOLDEN["zero_terminal_snr"]["alphas_cumprod"])
    found = zero_terminal(ALPHAS)
    torch.testing.assert_close(found[TIMESTEPS], expected, rtol=2e-5, atol=0)
    assert found[-1] == 0
    assert found[0] == ALPHAS[0]


def test_stretching_twice_is_stretching_once() -> None:
    once = zero_terminal(ALPHAS)
    torch.testing.assert_close(zero_terminal(once), once)


@pytest.mark.parametrize("rescaled", [False, True])
def test_the_plain_schedule_is_found_under_a_rescaled_one(rescaled: bool) -> None:
    config = dict(DDPMScheduler(**SD1, rescale_betas_zero_snr=rescaled).config)
    assert torch.equal(plain_alphas(config), ALPHAS)


def test_noise_and_velocity_are_what_diffusers_computes() -> None:
    latents, noise = torch.randn(3, 4, 5, 6), torch.randn(3, 4, 5, 6)
    timesteps = torch.tensor([0, 500, 999])
    scheduler = DDPMScheduler(**SD1)
    torch.testing.assert_close(
        noised(ALPHAS, latents, noise, timesteps), scheduler.add_noise(latents, noise, timesteps)
    )
    torch.testing.assert_close(
        velocity(ALPHAS, latents, noise, timesteps), scheduler.get_velocity(latents, noise, timesteps)
    )
