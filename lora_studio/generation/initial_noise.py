"""The noise of a picture: that of its seed, or something between those of two seeds.

All noise comes from generators on the CPU, so that a seed means the same on every device.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lora_studio.request import GenerateRequest

NEARLY_PARALLEL = 0.9995


class InitialNoise:
    """Draws the noise of one picture, in the order in which it is asked for."""

    def __init__(self, request: GenerateRequest) -> None:
        strength = request.variation_strength
        # At the far end it is the second seed's own picture, with samplers that add noise at each step, too.
        seed = request.variation_seed if strength == 1 else request.seed
        self.generator = torch.Generator().manual_seed(seed or 0)
        self._strength = strength % 1
        self._second = torch.Generator().manual_seed(request.variation_seed or 0)

    def draw(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """Noise of `shape`, on the CPU."""
        noise = torch.randn(shape, generator=self.generator, dtype=dtype)
        if not self._strength:
            return noise
        second = torch.randn(shape, generator=self._second, dtype=dtype)
        return slerp(noise.float(), second.float(), self._strength).to(dtype)


def slerp(first: torch.Tensor, second: torch.Tensor, amount: float) -> torch.Tensor:
    """Spherical interpolation (Shoemake 1985): from `first` (0) along the arc to `second` (1). Between two
    draws of noise it stays as strong as noise is, where a straight mean would be weaker."""
    cosine = (first * second).sum() / (first.norm() * second.norm())
    if abs(float(cosine)) > NEARLY_PARALLEL:
        return torch.lerp(first, second, amount)
    angle = torch.acos(cosine)
    return (torch.sin((1 - amount) * angle) * first + torch.sin(amount * angle) * second) / torch.sin(angle)
