"""Weights rounded to 8 or 4 bits, and computed back.

Legend: o output channels, n weights of a layer, k blocks of 64 of them (the last one filled up with zeros).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch.nn.functional import embedding, pad

FLOAT8 = torch.float8_e4m3fn
LARGEST_FLOAT8 = torch.finfo(FLOAT8).max
LARGEST_INT8 = 127
"""int8 could hold -128 too; the same range on both sides needs no zero point."""
SMALLEST = 1e-12
"""Stands for the largest of weights that are all 0."""
NF4 = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
    *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
    *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
    *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)
"""The 16 numbers of NormalFloat 4: quantiles of a normal distribution with an exact 0, divided by the
largest, in 32 bit (Dettmers et al. 2023, "QLoRA", appendix E)."""
BLOCK, SCALES = 64, 256
"""Weights that share a scale, and scales that share a step, as in the paper."""


def to_float8(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights [o, ...] in float8 (e4m3: four bits of exponent, three of mantissa; Micikevicius et al. 2022),
    and the scale of each output channel, [o, 1, ...]: its largest weight is float8's largest number."""
    scale = _largest_of_rows(values) / LARGEST_FLOAT8
    return (values / scale).to(FLOAT8), scale


def to_int8(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights [o, ...] in whole numbers from -127 to 127 (Dettmers et al. 2022), and the step of each output
    channel, [o, 1, ...]: a 127th of its largest weight."""
    step = _largest_of_rows(values) / LARGEST_INT8
    return (values / step).round().to(torch.int8), step


@dataclass(frozen=True, kw_only=True)
class NormalFloat4:
    """Weights as `codes`, uint8 [32 k]: places in NF4, two a byte, the first in the upper four bits. A weight
    is its number in NF4 times its block's scale. The scales are quantised too (the paper's "double
    quantisation"): `mean` [] plus `scales`, int8 [k], times their `steps`, [k / 256]. 4.13 bits a weight."""

    codes: torch.Tensor
    scales: torch.Tensor
    steps: torch.Tensor
    mean: torch.Tensor


def to_nf4(values: torch.Tensor) -> NormalFloat4:
    """Weights of any shape, each rounded to the nearest number of NF4 times the largest of its block."""
    flat = values.flatten().float()
    blocks = pad(flat, (0, -len(flat) % BLOCK)).view(-1, BLOCK)
    largest = blocks.abs().amax(1)
    levels = torch.tensor(NF4, device=values.device)
    between = (levels[1:] + levels[:-1]) / 2
    places = torch.bucketize(blocks / largest.clamp_min(SMALLEST)[:, None], between).to(torch.uint8).flatten()
    mean = largest.mean()
    scales, steps = to_int8(pad(largest - mean, (0, -len(largest) % SCALES)).view(-1, SCALES))
    return NormalFloat4(
        codes=places[::2] << 4 | places[1::2],
        scales=scales.flatten()[: len(largest)].clone(),
        steps=steps.flatten(),
        mean=mean,
    )


def from_nf4(held: NormalFloat4, shape: torch.Size) -> torch.Tensor:
    """The weights in 32 bit. With scales that are not rounded these are bitsandbytes' numbers to the bit."""
    steps = held.steps.repeat_interleave(SCALES)[: len(held.scales)]
    scales = held.scales * steps + held.mean
    values = embedding(held.codes.int(), _pairs(held.codes.device)).view(-1, BLOCK) * scales[:, None]
    return values.flatten()[: shape.numel()].view(shape)


@functools.cache
def _pairs(device: torch.device) -> torch.Tensor:
    """The two numbers of each byte of codes, [256, 2]: made once, since a graphics card would wait for it."""
    levels = torch.tensor(NF4, device=device)
    return torch.stack([levels.repeat_interleave(len(NF4)), levels.repeat(len(NF4))], dim=1)


def _largest_of_rows(values: torch.Tensor) -> torch.Tensor:
    """[o, 1, ...]"""
    largest = values.abs().flatten(1).amax(1).clamp_min(SMALLEST)
    return largest.view(-1, *[1] * (values.dim() - 1))
