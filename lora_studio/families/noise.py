"""The mathematics of discrete-time diffusion (Ho et al. 2020). Legend: b batch, c channels, h w height and
width.

`alphas` is the cumulative product of 1 - beta, one value for each timestep, in 32 bit.
"""

from __future__ import annotations

import torch


def noised(
    alphas: torch.Tensor, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor
) -> torch.Tensor:
    """Latents with noise at each sample's timestep: sqrt(a) x + sqrt(1 - a) e, [b, c, h, w]."""
    alpha = alphas[timesteps].view(-1, 1, 1, 1)
    return alpha.sqrt() * latents + (1 - alpha).sqrt() * noise


def velocity(
    alphas: torch.Tensor, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor
) -> torch.Tensor:
    """The v-prediction target sqrt(a) e - sqrt(1 - a) x (Salimans & Ho 2022), [b, c, h, w]."""
    alpha = alphas[timesteps].view(-1, 1, 1, 1)
    return alpha.sqrt() * noise - (1 - alpha).sqrt() * latents


def signal_to_noise(alphas: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
    """a / (1 - a), [b]."""
    alpha = alphas[timesteps]
    return alpha / (1 - alpha)


def min_snr_weights(snr: torch.Tensor, gamma: float, *, predicts_velocity: bool) -> torch.Tensor:
    """min(snr, gamma) / snr, or / (snr + 1) for v-prediction (Hang et al. 2023), [b]."""
    capped = snr.clamp(max=gamma)
    return capped / (snr + 1) if predicts_velocity else capped / snr.clamp(min=1e-8)
