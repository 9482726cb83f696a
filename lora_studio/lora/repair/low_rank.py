"""LoRA's two factors for the change of a layer of any kind that adds to a weight, and fewer ranks of them.

Shape letters: o outputs, i inputs (times the kernel's size), r rank. Every formula is exact but `truncated`.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import torch

from lora_studio.errors import ConfigError
from lora_studio.lora.file.contents import FULL, LOHA, LOKR, LORA, TITLES, shown
from lora_studio.lora.file.keys import BIAS, DIFF, DORA, DOWN, MID, SET, UP
from lora_studio.lora.file.layer_shapes import LARGEST_MADE, Shapes, products_of
from lora_studio.lora.network import kinds
from lora_studio.lora.network.weights import LayerWeights
from lora_studio.lora.repair.repair_request import SV_FRO, SV_RATIO, RepairRequest

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
    ConfigError for kinds whose change needs the base, and for sizes that no model has; ValueError for
    tensors that don't go together."""
    if not adds_to_weight(layer) or layer.parts.keys() <= {BIAS}:
        raise undefined(layer)
    check_size(name, largest_made(layer.shapes))
    parts = {part: tensor.double() for part, tensor in layer.parts.items()}
    if layer.kind == LORA and MID not in parts:
        down = parts[DOWN]
        return LowRank(up=parts[UP].flatten(1), down=down.flatten(1), inside=tuple(down.shape[1:]))
    if layer.kind == LOHA and not {"hada_t1", "hada_t2"} & parts.keys():
        return _of_hadamard(name, parts)
    if layer.kind == LOKR:
        return _of_kronecker(name, parts)
    if layer.kind == FULL:
        return _whole(name, parts[DIFF])
    return _whole(name, kinds.PRODUCTS[layer.kind](parts))


def resized(name: str, layer: LayerWeights, request: RepairRequest) -> LowRank:
    """The layer's change with fewer ranks. Raises as `low_rank_of`."""
    if layer.kind != LOKR or not adds_to_weight(layer):
        return truncated(low_rank_of(name, layer), request)
    products = products_of(layer.shapes)
    check_size(name, max(product.largest for product in products))
    parts = {part: tensor.double() for part, tensor in layer.parts.items()}
    small, large = (_svd(*_kronecker_factors(parts, factor)) for factor in ("lokr_w1", "lokr_w2"))
    # The singular values of a Kronecker product are all products of its factors' own.
    values, order = (small.values[:, None] * large.values).flatten().sort(descending=True)
    rank = min(chosen_rank(values, request), len(values))
    outputs, inputs = (
        math.prod(getattr(one, side).shape[axis] for one in (small, large))
        for side, axis in (("u", 0), ("v", 1))
    )
    check_size(name, (outputs + inputs) * rank)
    first, second = order[:rank] // len(large.values), order[:rank] % len(large.values)
    roots = values[:rank].sqrt()
    up = (small.u[:, None, first] * large.u[None, :, second]).flatten(0, 1) * roots
    down = (small.v[first, :, None] * large.v[second, None, :]).flatten(1) * roots[:, None]
    return LowRank(up=up, down=down, inside=_inside_of_kronecker(name, parts, inputs))


def truncated(change: LowRank, request: RepairRequest) -> LowRank:
    """The change with fewer ranks, by SVD: the nearest of its rank (Eckart and Young 1936). Ranks are
    chosen as sd-scripts' resize_lora does."""
    found = _svd(change.up, change.down)
    rank = min(chosen_rank(found.values, request), len(found.values))
    roots = found.values[:rank].sqrt()
    return LowRank(up=found.u[:, :rank] * roots, down=roots[:, None] * found.v[:rank], inside=change.inside)


@dataclass(frozen=True)
class _Svd:
    """`u` [o, r] times `values` [r], the largest first, times `v` [r, i]."""

    u: torch.Tensor
    values: torch.Tensor
    v: torch.Tensor


def _svd(up: torch.Tensor, down: torch.Tensor) -> _Svd:
    """The singular values and vectors of a product, by those of a matrix of its rank."""
    if up.shape[1] >= min(up.shape[0], down.shape[1]):
        return _Svd(*torch.linalg.svd(up @ down, full_matrices=False))
    left, first = torch.linalg.qr(up)
    right, second = torch.linalg.qr(down.T)
    u, values, v = torch.linalg.svd(first @ second.T, full_matrices=False)
    return _Svd(left @ u, values, v @ right.T)


def balanced(up: torch.Tensor, down: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Factors made alike in size, rank by rank, so that neither gets numbers below those that 16 bits hold
    whole; their product stays. Powers of 2, which round nothing."""
    lengths = torch.linalg.vector_norm(up, dim=0), torch.linalg.vector_norm(down, dim=1)
    sizes = [(lengths[0] / max(1, len(up)) ** 0.5), lengths[1] / max(1, down.shape[1]) ** 0.5]
    shares = torch.where((sizes[0] > 0) & (sizes[1] > 0), (sizes[1] / sizes[0]).sqrt(), 1)
    shares = torch.exp2(shares.log2().round())
    return up * shares, down / shares[:, None]


def chosen_rank(values: torch.Tensor, request: RepairRequest) -> int:
    """The number of singular values [r] (largest first) to keep, at least 1."""
    most = request.new_rank or len(values)
    if not request.dynamic_method:
        return max(1, most)
    if not bool(values.sum() > 0):
        return 1
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
    (small_up, small_down), (large_up, large_down) = (
        _kronecker_factors(parts, factor) for factor in ("lokr_w1", "lokr_w2")
    )
    inputs = small_down.shape[1] * large_down.shape[1]
    inside = _inside_of_kronecker(name, parts, inputs)
    rank = small_up.shape[1] * large_up.shape[1]
    if rank >= min(small_up.shape[0] * large_up.shape[0], inputs):
        return _whole(name, torch.kron(small_up @ small_down, large_up @ large_down), inside)
    up, down = torch.kron(small_up, large_up), torch.kron(small_down, large_down)
    return LowRank(up=up, down=down, inside=inside)


def _inside_of_kronecker(name: str, parts: dict[str, torch.Tensor], inputs: int) -> tuple[int, ...]:
    kernel = parts.get("lokr_t2", parts.get("lokr_w2", torch.empty(0))).shape[2:]
    return (inputs // math.prod(kernel), *kernel) if len(kernel) == 2 else _inside(name, inputs)


def _kronecker_factors(parts: dict[str, torch.Tensor], name: str) -> tuple[torch.Tensor, torch.Tensor]:
    if name in parts:
        return _beside_ones(parts[name].flatten(1))
    left, right = parts[f"{name}_a"], parts[f"{name}_b"]
    if name == "lokr_w2" and "lokr_t2" in parts:
        made = torch.einsum("rs...,ro,si->oi...", parts["lokr_t2"], left, right)
        return _beside_ones(made.flatten(1))
    return left.flatten(1), right.flatten(1)


def _whole(name: str, change: torch.Tensor, inside: tuple[int, ...] = ()) -> LowRank:
    if change.dim() < 2:
        raise ConfigError("A difference of a norm has no ranks.", "It is kept as it is.")
    up, down = _beside_ones(change.flatten(1))
    is_kernel = change.dim() == 4
    sides = inside or (tuple(change.shape[1:]) if is_kernel else _inside(name, down.shape[1]))
    return LowRank(up=up, down=down, inside=sides)


def _beside_ones(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A matrix as the product of itself and the identity on its smaller side."""
    eye = torch.eye(min(matrix.shape), dtype=matrix.dtype)
    return (matrix, eye) if matrix.shape[1] <= matrix.shape[0] else (eye, matrix)


def largest_made(shapes: Shapes) -> int:
    """Numbers of the largest tensor that the factors of a layer of these shapes need, 0 where it has them.
    Raises ValueError for tensors that don't go together."""
    products = products_of(shapes)
    if len(products) < 2:
        return max((product.largest for product in products if product.has_core), default=0)
    first, second = products
    ranks = first.ranks[0] * second.ranks[0]
    outputs, inputs = first.outputs, first.inputs
    if "hada_w1_a" not in shapes:
        outputs, inputs = outputs * second.outputs, inputs * second.inputs * second.kernel
    elif first.has_core:
        return max(first.largest, second.largest)
    made = outputs * inputs if ranks >= min(outputs, inputs) else (outputs + inputs) * ranks
    return max(made, second.largest)


def check_size(name: str, numbers: int) -> None:
    """Refuse a layer that would need so many numbers. Raises ConfigError."""
    if numbers > LARGEST_MADE:
        raise ConfigError(
            f"{shown(name)} is too large to be worked on here: {numbers:,} numbers would have to be made.",
            "No model has such a layer. Where it is a LoKr, resize it first (new_rank).",
        )


def _inside(name: str, inputs: int) -> tuple[int, ...]:
    """The sides of an input whose kernel a file has in one row."""
    return (inputs // 9, 3, 3) if KERNEL_3.fullmatch(name) and inputs % 9 == 0 else (inputs,)


def scaled(layer: LayerWeights) -> float:
    """alpha / rank of a layer, 1 without either. Raises ValueError for an alpha that is no number."""
    scale = kinds.scale_of(layer.parts, layer.alpha)
    if not math.isfinite(scale):
        raise ValueError("alpha is no number")
    return scale
