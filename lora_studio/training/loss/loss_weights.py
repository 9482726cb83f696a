"""Weights of differences. Legend: b batch, c channels, h w height and width."""

from __future__ import annotations

import math

import torch

from lora_studio.config_groups import NoiseGroup
from lora_studio.families.base import Process


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
