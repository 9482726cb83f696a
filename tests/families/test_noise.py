from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import DDPMScheduler

from lora_studio.families.noise import min_snr_weights, noised, signal_to_noise, velocity

GOLDEN = json.loads((Path(__file__).parent.parent / "golden" / "loss_weights.json").read_text())
SD1 = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
ALPHAS = DDPMScheduler(**SD1).alphas_cumprod
TIMESTEPS = torch.tensor(GOLDEN["timesteps"])


def assert_golden(found: torch.Tensor, name: str) -> None:
    torch.testing.assert_close(found, torch.tensor(GOLDEN[name]), rtol=2e-6, atol=0)


def test_schedule_and_signal_to_noise_are_kohyas() -> None:
    assert_golden(ALPHAS[TIMESTEPS], "alphas_cumprod")
    assert_golden(signal_to_noise(ALPHAS, TIMESTEPS), "snr")


def test_min_snr_weights_are_kohyas() -> None:
    snr = signal_to_noise(ALPHAS, TIMESTEPS)
    assert_golden(min_snr_weights(snr, 5, predicts_velocity=False), "min_snr_gamma_5_eps")
    assert_golden(min_snr_weights(snr, 5, predicts_velocity=True), "min_snr_gamma_5_v")
    assert_golden(min_snr_weights(snr, 1, predicts_velocity=False), "min_snr_gamma_1_eps")


def test_min_snr_survives_a_schedule_that_ends_in_pure_noise() -> None:
    weights = min_snr_weights(torch.zeros(1), 5, predicts_velocity=False)
    assert torch.isfinite(weights).all()


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
