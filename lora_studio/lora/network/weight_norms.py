"""Kohya's scale_weight_norms: a limit on the size of each layer's change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from lora_studio.lora.network import kinds
from lora_studio.lora.network.attach import AttachedLora


@dataclass(frozen=True, kw_only=True)
class Norms:
    """The result of scaling: how many layers were scaled, the mean and the largest norm afterwards."""

    scaled: int
    mean: float
    largest: float


@torch.no_grad()
def limit_norms(lora: AttachedLora, limit: float) -> Norms:
    """Scale layers down whose |alpha / rank x change| is above the limit, each factor by the same root."""
    scaled, norms = 0, []
    for name in lora.layers:
        weights = lora.weights(name)
        norm = _norm(weights, lora.alpha_of(name))
        ratio = float(limit / norm) if norm > limit else 1.0
        if ratio != 1.0:
            scaled += 1
            factors = kinds.factors(lora.shape.kind, weights)
            for factor in factors:
                weights[factor].mul_(ratio ** (1 / len(factors)))
        norms.append(norm * ratio)
    return Norms(scaled=scaled, mean=sum(norms) / len(norms), largest=max(norms))


def _norm(weights: Mapping[str, torch.Tensor], alpha: float) -> float:
    kind = kinds.kind_of(weights)
    return float(kinds.change(kind, weights, torch.Size((-1,))).norm() * kinds.scale_of(weights, alpha))
