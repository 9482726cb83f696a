"""The mathematics of discrete-time diffusion (Ho et al. 2020). Legend: b batch, c channels, h w height and
width.

`alphas` is the cumulative product of 1 - beta, one value for each timestep, in 32 bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

PLAIN = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas")
"""What a noise schedule is made of, but for a rescaling afterwards."""


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


def zero_terminal(alphas: torch.Tensor) -> torch.Tensor:
    """The schedule shifted and stretched so that nothing of the picture is left at the last timestep (Lin et
    al. 2023), [t]."""
    roots = alphas.sqrt()
    first, last = roots[0], roots[-1]
    return ((roots - last) * (first / (first - last))).square()


def plain_alphas(scheduler_config: Mapping[str, Any]) -> torch.Tensor:
    """A base's own schedule, not rescaled, [t]."""
    from diffusers import DDPMScheduler

    own = {key: scheduler_config[key] for key in PLAIN if key in scheduler_config}
    return DDPMScheduler.from_config(own).alphas_cumprod
