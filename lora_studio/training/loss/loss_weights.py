"""Weights of differences and of noise levels. Legend: b batch, c channels, h w height and width.

`snr` is the signal-to-noise ratio of each sample, [b]; every weight is a factor on a sample's loss, [b].
"""

from __future__ import annotations

import math

import torch

from lora_studio.config_groups import NoiseGroup
from lora_studio.errors import ConfigError
from lora_studio.families.base import Process

HIGHEST_SNR = 1000.0
"""The ratio where the weights that divide by the signal-to-noise ratio stop to grow, as in Kohya's
trainer."""


def elementwise_loss(
    answer: torch.Tensor, target: torch.Tensor, loss_type: str, thresholds: torch.Tensor | None = None
) -> torch.Tensor:
    """The loss of each element, [b, c, h, w]. `thresholds` [b] are those of huber and smooth_l1: the border
    between small and large differences (Charbonnier's form of Huber 1964)."""
    difference = answer - target
    if loss_type == "l2":
        return difference.square()
    if loss_type == "l1":
        return difference.abs()
    assert thresholds is not None
    border = thresholds.view(-1, 1, 1, 1)
    beyond = 2 * ((difference.square() + border.square()).sqrt() - border)
    return border * beyond if loss_type == "huber" else beyond


def huber_thresholds(noise: NoiseGroup, process: Process, timesteps: torch.Tensor) -> torch.Tensor:
    """The border for each sample, [b] (Khrapov 2024, scheduled pseudo-Huber loss)."""
    c, scale = noise.huber_c, noise.huber_scale
    if noise.huber_schedule == "constant":
        return torch.full_like(timesteps, c * scale, dtype=torch.float32)
    if noise.huber_schedule == "exponential":
        return scale * torch.exp(timesteps * (math.log(c) / process.times))
    return (1 - c) / (1 + process.sigmas(timesteps)).square() + c


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


def loss_weights(noise: NoiseGroup, snr: torch.Tensor, *, predicts_velocity: bool) -> torch.Tensor:
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


def prepare_objective(process: Process, noise: NoiseGroup) -> None:
    """Check the settings against what the base predicts, and let its noise end in nothing but noise if
    wanted; previews are made with the base's own schedule. Raises ConfigError."""
    try:
        noise.check_prediction(predicts_velocity=process.predicts_velocity)
    except ValueError as error:
        raise ConfigError(f"{error}.", field=str(error).split()[0]) from None
    process.set_zero_terminal(noise.zero_terminal_snr)


def weights_at(process: Process, timesteps: torch.Tensor, noise: NoiseGroup) -> torch.Tensor:
    """The weight of each sample's loss on this base, [b]."""
    snr = process.weight_snr(timesteps)
    return loss_weights(noise, snr, predicts_velocity=process.predicts_velocity)
