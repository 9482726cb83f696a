"""LoRA's two factors for the change of a layer of any kind that adds to a weight, and fewer ranks of them.

Shape letters: o outputs, i inputs (times the kernel's size), r rank. Every formula is exact but `truncated`.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import torch

from lora_studio.errors import ConfigError
from lora_studio.lora.file.contents import FULL, LOHA, LOKR, LORA, TITLES
from lora_studio.lora.file.keys import BIAS, DIFF, DORA, DOWN, MID, SET, UP
from lora_studio.lora.network import kinds
from lora_studio.lora.network.weights import LayerWeights
from lora_studio.lora.repair.repair_request import SV_FRO, SV_RATIO, RepairRequest

MOST_OPERATIONS = 1 << 37
"""Multiplications of one layer's SVD: beyond it, no model's layer, and more than a minute."""
KERNEL_3 = re.compile(r".*_(?:conv[12]?|in_layers_2|out_layers_3|op|conv_in|conv_out)")
"""Names of layers with kernels of 3 x 3, where a file has the kernel in one row."""


@dataclass(frozen=True, kw_only=True)
class LowRank:
    """The change `up` [o, r] times `down` [r, i], in 64 bit, without scale. `inside` are the sides of an
    input: (inputs,) for a linear layer, (inputs, height, width) for a convolution."""

    up: torch.Tensor
    down: torch.Tensor
    inside: tuple[int, ...]

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    def parts(self) -> dict[str, torch.Tensor]:
        """The tensors of a LoRA file's layer."""
        ones = [1] * (len(self.inside) - 1)
        return {
            DOWN: self.down.reshape(self.rank, *self.inside).contiguous(),
            UP: self.up.reshape(*self.up.shape, *ones).contiguous(),
        }


def adds_to_weight(layer: LayerWeights) -> bool:
    """Whether the change is a sum that knows nothing of the base: LoRA, LoCon, LoHa, LoKr, differences."""
    return layer.kind in (LORA, LOHA, LOKR, FULL) and not {DORA, SET} & layer.parts.keys()


def low_rank_of(name: str, layer: LayerWeights) -> LowRank:
    """The factors of a layer's change; a layer without any has its whole change as one of them. Raises
    ConfigError for kinds whose change needs the base, and for sizes that no model has."""
    if not adds_to_weight(layer) or layer.parts.keys() <= {BIAS}:
        raise undefined(layer)
    parts = {part: tensor.double() for part, tensor in layer.parts.items()}
    if layer.kind == LORA and MID not in parts:
        down = parts[DOWN]
        return LowRank(up=parts[UP].flatten(1), down=down.flatten(1), inside=tuple(down.shape[1:]))
    if layer.kind == LOHA and not {"hada_t1", "hada_t2"} & parts.keys():
        return _of_hadamard(name, parts)
    if layer.kind == LOKR and "lokr_t2" not in parts:
        return _of_kronecker(name, parts)
    if layer.kind == FULL:
        return _whole(name, parts[DIFF])
    return _whole(name, kinds.PRODUCTS[layer.kind](parts))


def truncated(change: LowRank, request: RepairRequest) -> LowRank:
    """The change with fewer ranks, by SVD: the nearest of its rank (Eckart and Young 1936). Ranks are
    chosen as sd-scripts' resize_lora does."""
    left, first = torch.linalg.qr(change.up)
    right, second = torch.linalg.qr(change.down.T)
    u, values, v = torch.linalg.svd(first @ second.T, full_matrices=False)
    rank = min(chosen_rank(values, request), len(values))
    roots = values[:rank].sqrt()
    return LowRank(
        up=(left @ u[:, :rank]) * roots, down=roots[:, None] * (v[:rank] @ right.T), inside=change.inside
    )


def chosen_rank(values: torch.Tensor, request: RepairRequest) -> int:
    """The number of singular values [r] (largest first) to keep, at least 1."""
    most = request.new_rank or len(values)
    if not request.dynamic_method or not bool(values.sum() > 0):
        return max(1, most)
    if request.dynamic_method == SV_RATIO:
        kept = int((values > values[0] / request.dynamic_param).sum())
    else:
        powers = values.square() if request.dynamic_method == SV_FRO else values
        share = request.dynamic_param**2 if request.dynamic_method == SV_FRO else request.dynamic_param
        kept = int(torch.searchsorted(powers.cumsum(0) / powers.sum(), share)) + 1
    return max(1, min(kept, most))


def undefined(layer: LayerWeights) -> ConfigError:
    """The sentence on a kind that has no factors of its own."""
    title = "a DoRA" if DORA in layer.parts else f"a layer of {TITLES[layer.kind]}"
    return ConfigError(
        f"This can't be done with {title}: its change depends on the base's weights.",
        "Resizing and merging are defined for LoRA, LoCon, LoHa, LoKr and plain differences.",
    )


def _of_hadamard(name: str, parts: dict[str, torch.Tensor]) -> LowRank:
    """A product of two products, entry by entry: its factors are all pairs of theirs."""
    a1, b1, a2, b2 = (parts[f"hada_{half}"].flatten(1) for half in ("w1_a", "w1_b", "w2_a", "w2_b"))
    if a1.shape[1] * a2.shape[1] >= min(len(a1), b1.shape[1]):
        return _whole(name, (a1 @ b1) * (a2 @ b2))
    up = (a1[:, :, None] * a2[:, None, :]).flatten(1)
    down = (b1[:, None, :] * b2[None, :, :]).flatten(0, 1)
    return LowRank(up=up, down=down, inside=_inside(name, down.shape[1]))


def _of_kronecker(name: str, parts: dict[str, torch.Tensor]) -> LowRank:
    """A Kronecker product of products is the product of their Kronecker products."""
    small_up, small_down = _kronecker_factors(parts, "lokr_w1")
    large_up, large_down = _kronecker_factors(parts, "lokr_w2")
    up, down = torch.kron(small_up, large_up), torch.kron(small_down, large_down)
    inside = _inside(name, down.shape[1])
    if (whole := parts.get("lokr_w2")) is not None and whole.dim() == 4:
        inside = (small_down.shape[1] * whole.shape[1], *whole.shape[2:])
    return LowRank(up=up, down=down, inside=inside)


def _kronecker_factors(parts: dict[str, torch.Tensor], name: str) -> tuple[torch.Tensor, torch.Tensor]:
    if name in parts:
        whole = parts[name].flatten(1)
        eye = torch.eye(min(whole.shape), dtype=whole.dtype)
        return (whole, eye) if whole.shape[1] <= whole.shape[0] else (eye, whole)
    return parts[f"{name}_a"].flatten(1), parts[f"{name}_b"].flatten(1)


def _whole(name: str, change: torch.Tensor) -> LowRank:
    if change.dim() < 2:
        raise ConfigError("A difference of a norm has no ranks.", "It is kept as it is.")
    flat = change.flatten(1)
    if flat.shape[0] * flat.shape[1] * min(flat.shape) > MOST_OPERATIONS:
        raise ConfigError(f"A layer of {' x '.join(map(str, flat.shape))} is too large to be resized here.")
    eye = torch.eye(min(flat.shape), dtype=flat.dtype)
    up, down = (flat, eye) if flat.shape[1] <= flat.shape[0] else (eye, flat)
    return LowRank(
        up=up,
        down=down,
        inside=tuple(change.shape[1:]) if change.dim() == 4 else _inside(name, flat.shape[1]),
    )


def _inside(name: str, inputs: int) -> tuple[int, ...]:
    """The sides of an input whose kernel a file has in one row."""
    return (inputs // 9, 3, 3) if KERNEL_3.fullmatch(name) and inputs % 9 == 0 else (inputs,)


def scaled(layer: LayerWeights) -> float:
    """alpha / rank of a layer, 1 without either."""
    scale = kinds.scale_of(layer.parts, layer.alpha)
    return scale if math.isfinite(scale) else 1.0
