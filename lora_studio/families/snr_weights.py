"""Weights of a diffusion's noise levels by their signal-to-noise ratio. Legend: b batch.

`snr` is the ratio of each sample, [b]; every weight is a factor on a sample's loss, [b].
"""

from __future__ import annotations

import torch

from lora_studio.config_groups import NoiseGroup

HIGHEST_SNR = 1000.0
"""The ratio where the weights that divide by the signal-to-noise ratio stop to grow, as in Kohya's
trainer."""


def min_snr_weights(snr: torch.Tensor, gamma: float, *, predicts_velocity: bool) -> torch.Tensor:
    """min(snr, gamma) / snr, or / (snr + 1) for v-prediction (Hang et al. 2023)."""
    return snr.clamp(max=gamma) / (snr + 1) if predicts_velocity else (gamma / snr).clamp(max=1)


def debiased_weights(snr: torch.Tensor, *, predicts_velocity: bool) -> torch.Tensor:
    """1 / sqrt(snr), or 1 / (snr + 1) for v-prediction (Yu et al. 2023)."""
    snr = snr.clamp(max=HIGHEST_SNR)
    return 1 / (snr + 1) if predicts_velocity else snr.rsqrt()


def noise_like_weights(snr: torch.Tensor) -> torch.Tensor:
    """Weights that make the loss of a v-prediction that of the noise which follows from it: snr / (snr +
    1)."""
    snr = snr.clamp(max=HIGHEST_SNR)
    return snr / (snr + 1)


def velocity_like_weights(snr: torch.Tensor, strength: float) -> torch.Tensor:
    """1 plus `strength` times what makes the loss of a noise prediction that of its velocity."""
    return 1 + strength / noise_like_weights(snr)


def snr_weights(noise: NoiseGroup, snr: torch.Tensor, *, predicts_velocity: bool) -> torch.Tensor:
    """All weights that are switched on, multiplied; Kohya's trainer applies them in the same order."""
    weights = torch.ones_like(snr)
    if noise.min_snr_gamma is not None:
        weights = weights * min_snr_weights(snr, noise.min_snr_gamma, predicts_velocity=predicts_velocity)
    if noise.scale_v_pred_loss_like_noise_pred:
        weights = weights * noise_like_weights(snr)
    if noise.v_pred_like_loss:
        weights = weights * velocity_like_weights(snr, noise.v_pred_like_loss)
    if noise.debiased_estimation_loss:
        weights = weights * debiased_weights(snr, predicts_velocity=predicts_velocity)
    return weights
