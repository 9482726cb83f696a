"""Shapes of the noise other than plain. Legend: c latent channels, h w latent height and width.

Each works on one sample, [c, h, w], with that sample's own generator. Kohya's trainer draws the random
strengths and the sizes of the pyramid once a batch, and divides the pyramid by the deviation of the whole
batch; here both go by the sample, so that it doesn't matter in whose company a picture is trained.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

COARSER = 2.0, 4.0
"""Each noise of the pyramid is coarser than the one before by a random factor in this range."""


def random_share(generator: torch.Generator) -> float:
    """A number from 0 to 1."""
    return torch.rand((), generator=generator).item()


def offset_noise(
    noise: torch.Tensor,
    strength: float,
    generator: torch.Generator,
    *,
    latent: torch.Tensor | None = None,
    adaptive: float | None = None,
) -> torch.Tensor:
    """Shift each channel of [..., c, h, w] by a normal number times `strength` (Guttenberg 2023), plus
    `adaptive` times the latent's mean in that channel, without its sign."""
    scale: float | torch.Tensor = strength
    if adaptive is not None and latent is not None:
        scale = (strength + adaptive * latent.mean(dim=(-2, -1), keepdim=True).abs()).clamp(min=0)
    return noise + scale * torch.randn((*noise.shape[:-2], 1, 1), generator=generator)


def pyramid_noise(
    noise: torch.Tensor,
    *,
    iterations: int,
    discount: float,
    generator: torch.Generator,
    coarser: Callable[[], float] | None = None,
) -> torch.Tensor:
    """Add ever coarser noise, each weaker by `discount`, and bring the whole back to a deviation of 1
    (Whitaker 2023, multi-resolution noise). `coarser` draws the factors."""
    low, high = COARSER
    draw = coarser or (lambda: low + (high - low) * random_share(generator))
    *channels, height, width = noise.shape
    for level in range(iterations):
        factor = draw() ** level
        size = max(1, int(height / factor)), max(1, int(width / factor))
        coarse = torch.randn((*channels, *size), generator=generator)
        smooth = torch.nn.functional.interpolate(
            coarse.view(1, -1, *size), size=(height, width), mode="bilinear", align_corners=False
        )
        noise = noise + smooth.view(noise.shape) * discount**level
        if 1 in size:
            break
    return noise / noise.std()


def perturbed_input(noise: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    """The noise that the denoiser sees; it is still asked for the noise without the addition (input
    perturbation, Ning et al. 2023)."""
    return noise + strength * torch.randn(noise.shape, generator=generator)
