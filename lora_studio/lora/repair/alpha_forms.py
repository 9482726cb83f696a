"""The two forms of a layer's alpha: multiplied into its tensors, and written beside them."""

from __future__ import annotations

from lora_studio.lora.file.contents import BOFT, DIAG_OFT, GENERALIZED, LOHA, LOKR, LORA
from lora_studio.lora.file.keys import UP
from lora_studio.lora.network import kinds
from lora_studio.lora.network.weights import LayerWeights
from lora_studio.lora.repair.low_rank import scaled
from lora_studio.lora.repair.repair_request import WRITTEN

FACTORS = {
    LORA: (UP,),
    LOHA: ("hada_w1_a",),
    LOKR: ("lokr_w1", "lokr_w1_a"),
}
"""The part of a kind that takes alpha in; of two names the one that a layer has."""
BOUNDS = (DIAG_OFT, BOFT)
"""Kinds whose alpha is no scale but a bound on the turn, which stays where it is."""


def folded(layer: LayerWeights) -> LayerWeights:
    """The layer without alpha, which draws the same: alpha / rank is in one of its factors."""
    if layer.kind in BOUNDS:
        return layer
    parts = dict(layer.parts)
    names = [name for name in FACTORS.get(layer.kind, ()) if name in parts]
    scale = scaled(layer)
    if layer.kind == GENERALIZED:
        names, scale = ["a1.weight", "b1.weight"], glora_scale(layer)
    if scale != 1:
        for name in names:
            parts[name] = scale * parts[name].double()
    return LayerWeights(kind=layer.kind, parts=parts, alpha=None)


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
