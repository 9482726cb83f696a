"""One layer of several files as one: the sum of their changes, each times its ratio."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lora_studio.errors import ConfigError
from lora_studio.lora.file.contents import FULL, LORA, shown
from lora_studio.lora.file.keys import BIAS, DIFF
from lora_studio.lora.network.weights import LayerWeights
from lora_studio.lora.repair.low_rank import (
    LowRank,
    adds_to_weight,
    balanced,
    low_rank_of,
    scaled,
    truncated,
    undefined,
)
from lora_studio.lora.repair.repair_request import RepairRequest


def merged(name: str, layers: Sequence[tuple[float, LayerWeights]], request: RepairRequest) -> LayerWeights:
    """The sum, exact where `request` doesn't resize: the ranks stand side by side, and where that is more
    than a matrix has, as many as it has. Differences stay differences. Raises ConfigError for kinds whose
    change depends on the base, and for sizes that differ."""
    if odd := next((layer for _, layer in layers if not adds_to_weight(layer)), None):
        raise undefined(odd)
    parts: dict[str, torch.Tensor] = {}
    biases = [ratio * layer.parts[BIAS].double().flatten() for ratio, layer in layers if BIAS in layer.parts]
    if biases:
        parts[BIAS] = _sum(name, biases)
    weights = [(ratio, layer) for ratio, layer in layers if layer.parts.keys() - {BIAS}]
    differences = [ratio * layer.parts[DIFF].double() for ratio, layer in weights if DIFF in layer.parts]
    if len(differences) == len(weights) and not (
        request.resizes and differences and differences[0].dim() > 1
    ):
        whole = {DIFF: _sum(name, differences)} if differences else {}
        return LayerWeights(kind=FULL, parts={**whole, **parts}, alpha=None)
    change = _side_by_side(
        name, [(ratio * scaled(layer), low_rank_of(name, layer)) for ratio, layer in weights]
    )
    if request.resizes:
        change = truncated(change, request)
    elif change.rank > min(change.up.shape[0], change.down.shape[1]):
        change = truncated(change, RepairRequest())
    return LayerWeights(kind=LORA, parts={**change.parts(), **parts}, alpha=float(change.rank))


def _side_by_side(name: str, changes: Sequence[tuple[float, LowRank]]) -> LowRank:
    sizes = {(change.up.shape[0], change.down.shape[1]) for _, change in changes}
    if len(sizes) > 1:
        raise _other_sizes(name)
    pairs = [balanced(scale * change.up, change.down) for scale, change in changes]
    return LowRank(
        up=torch.cat([up for up, _ in pairs], dim=1),
        down=torch.cat([down for _, down in pairs]),
        inside=max((change.inside for _, change in changes), key=len),
    )


def _sum(name: str, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    if len({tensor.numel() for tensor in tensors}) > 1:
        raise _other_sizes(name)
    shape = max((tensor.shape for tensor in tensors), key=len)
    return torch.stack([tensor.reshape(shape) for tensor in tensors]).sum(dim=0)


def _other_sizes(name: str) -> ConfigError:
    return ConfigError(
        f"The files have other sizes in the layer {shown(name)}.",
        "Merge LoRAs of the same family of base models.",
    )
