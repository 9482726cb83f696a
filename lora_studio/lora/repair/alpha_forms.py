"""The two forms of a layer's alpha: multiplied into its tensors, and written beside them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from lora_studio.lora.file.contents import BOFT, DIAG_OFT, GENERALIZED, HADA, LOHA, LOKR, LORA
from lora_studio.lora.file.keys import DOWN, MID, UP
from lora_studio.lora.network import kinds
from lora_studio.lora.network.weights import LayerWeights
from lora_studio.lora.repair.low_rank import scaled
from lora_studio.lora.repair.repair_request import WRITTEN

FACTORS = {
    LORA: (UP, DOWN, MID),
    LOHA: HADA,
    LOKR: ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b"),
}
"""The factors of a kind, of which the first that a layer has takes alpha in."""
SMALL = 2.0**-10
"""A factor below this on the average is made larger: fp16 has ever fewer bits for numbers below 2^-14."""
BOUNDS = (DIAG_OFT, BOFT)
"""Kinds whose alpha is no scale but a bound on the turn, which stays where it is."""


def folded(layer: LayerWeights) -> LayerWeights:
    """The layer without alpha, which draws the same: alpha / rank is in one of its factors. Where that makes
    one too small for 16 bits, all of them get the same size."""
    if layer.kind in BOUNDS:
        return layer
    parts = dict(layer.parts)
    scale = scaled(layer)
    if layer.kind == GENERALIZED:
        scale = glora_scale(layer)
        parts |= {name: scale * parts[name].double() for name in ("a1.weight", "b1.weight") if scale != 1}
    elif scale != 1 and (names := [name for name in FACTORS.get(layer.kind, ()) if name in parts]):
        factors = {name: parts[name].double() for name in names}
        factors[names[0]] = scale * factors[names[0]]
        parts |= _alike(factors)
    return LayerWeights(kind=layer.kind, parts=parts, alpha=None)


def _alike(factors: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
    """The factors, or if one is small all of one size, with the same product: powers of 2 round nothing."""
    sizes = [float(factor.square().mean().sqrt()) for factor in factors.values()]
    if not all(sizes) or min(sizes) >= SMALL:
        return factors
    logs = [math.log2(size) for size in sizes]
    shifts = [round(sum(logs) / len(logs) - log) for log in logs]
    shifts[0] -= sum(shifts)
    return {name: factor * 2.0**shift for (name, factor), shift in zip(factors.items(), shifts, strict=True)}


def with_alpha(layer: LayerWeights, form: str) -> LayerWeights:
    """The layer with its alpha as a tensor: one that only the header told is always written, since the header
    of a new file says nothing of it; with `form` WRITTEN the rank stands where there was none."""
    rank = kinds.rank_of(layer.shapes)
    alpha = layer.alpha
    if alpha is None and form == WRITTEN and layer.kind in FACTORS and rank:
        alpha = float(rank)
    return LayerWeights(kind=layer.kind, parts=layer.parts, alpha=alpha)


def glora_scale(layer: LayerWeights) -> float:
    """alpha / rank of a GLoRA, whose rank is its factors' smaller side."""
    rank = min(layer.parts["a2.weight"].flatten(1).shape)
    return layer.alpha / rank if layer.alpha and rank else 1.0
