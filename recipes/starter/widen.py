"""Make a trained autoencoder twice as wide without changing what it computes (Net2Net, Chen et al. 2016).

Every hidden channel becomes two equal neighbours, so a group of the group normalisation keeps its statistics;
what reads them takes a random part from the one and the rest from the other, so the two are free to part in
training.
"""

import math
from collections.abc import Callable, Iterator

import torch
from diffusers import AutoencoderKL
from torch import nn

from recipes.starter import model

# How unevenly a weight is shared between the two copies: half and half, give or take this deviation.
UNEVEN = 0.25


def widen(narrow: AutoencoderKL) -> AutoencoderKL:
    """An autoencoder with twice the channels that gives the same latents and the same pictures."""
    channels = tuple(2 * count for count in narrow.config.block_out_channels)
    wide = model.make_autoencoder(narrow.config.sample_size, channels).to(narrow.device)
    wide.load_state_dict({name: value for part in _parts(narrow, wide) for name, value in part})
    return wide


def _parts(narrow: AutoencoderKL, wide: AutoencoderKL) -> Iterator[list[tuple[str, torch.Tensor]]]:
    shapes = {name: value.shape for name, value in wide.state_dict().items()}
    for name, module in narrow.named_modules():
        own: dict[str, torch.Tensor] = dict(module.named_parameters(recurse=False))
        # Twice the width makes attention's scores larger by two and the divisor by the root of two.
        factor = 1 / math.sqrt(2) if name.endswith("to_q") else 1.0
        split = _split if isinstance(module, nn.Conv2d | nn.Linear) else None
        yield [
            (f"{name}.{key}", _fit(value.data, shapes[f"{name}.{key}"], split) * factor)
            for key, value in own.items()
        ]


def _fit(
    value: torch.Tensor, shape: torch.Size, split: Callable[[torch.Tensor], torch.Tensor] | None
) -> torch.Tensor:
    if value.shape[0] != shape[0]:
        value = value.repeat_interleave(2, 0)
    if split is not None and value.dim() > 1 and value.shape[1] != shape[1]:
        value = split(value)
    return value


def _split(weight: torch.Tensor) -> torch.Tensor:
    """[out, in, ...] to [out, 2 in, ...]: each input's weight shared between its two copies."""
    share = 0.5 + UNEVEN * torch.randn_like(weight)
    return torch.stack([weight * share, weight * (1 - share)], 2).flatten(1, 2)
