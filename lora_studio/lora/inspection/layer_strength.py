"""The strength of a LoRA's layers: norms of their changes, from the factors, without making the change.

Shape letters: o outputs, i inputs (times the kernel's size), r rank.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from lora_studio.lora.file.contents import BOFT, DIAG_OFT, FULL, IA3, LOHA, LOKR, LORA, OFTV2, FileLayer
from lora_studio.lora.file.keys import (
    BIAS,
    DIFF,
    DORA,
    DOWN,
    FACTOR,
    MID,
    OFT,
    OFT_DIAG,
    OFT_R,
    PEFT_FACTOR,
    SCALED,
    UP,
)
from lora_studio.lora.file.layer_shapes import matrix_of, products_of
from lora_studio.lora.network import kinds
from lora_studio.lora.network.kinds import is_finite
from lora_studio.lora.network.orthogonal import rotation, side_of, turn_of
from lora_studio.lora.network.weights import LayerWeights

Parts = Mapping[str, torch.Tensor]
MOST_OPERATIONS = 1 << 40
"""Multiplications that the norms of one file may take, a minute's work or less: a LoHa of rank 32 of all of
FLUX.1 takes three quarters of that, and a small file may ask for any number."""
LARGEST_MADE = 1 << 25
"""Numbers of the largest tensor on the way to a change that is made whole because its norm needs that
(Tucker's cores, which convolutions have); SDXL's largest has 29 million."""
AT_ONCE = 1 << 22
"""Numbers of a change that are made at once where its norm needs them."""


@dataclass(frozen=True, kw_only=True)
class LayerStrength:
    """`norm` is the Frobenius norm of the change that is added to a weight, alpha included; `relative` is the
    norm of the change as a share of the weight's, for kinds that turn or scale weights. None where the kind
    or the base tells it only."""

    norm: float | None = None
    relative: float | None = None
    is_finite: bool = True
    is_zero: bool = False


def strength_of(layer: LayerWeights) -> LayerStrength:
    """Measure a layer. One with a number that is NaN or infinite has no norm; neither has one whose tensors
    don't go together or are in a format without arithmetic."""
    if not has_finite_numbers(layer):
        return LayerStrength(is_finite=False)
    try:
        parts = {name: as_float(tensor) for name, tensor in layer.parts.items()}
        norm, relative = _norm(layer.kind, parts, layer.alpha), _relative(layer.kind, parts, layer.alpha)
        relative = None if relative is None or not math.isfinite(relative) else relative
    except (RuntimeError, ValueError, IndexError, KeyError, ZeroDivisionError):
        return LayerStrength()
    is_zero = kinds.adds_nothing(layer.kind, layer.parts)
    return LayerStrength(norm=norm, relative=relative, is_zero=is_zero)


def has_finite_numbers(layer: LayerWeights) -> bool:
    """Whether no number of a layer is NaN or infinite, alpha included."""
    alpha_is_finite = layer.alpha is None or math.isfinite(layer.alpha)
    return alpha_is_finite and all(is_finite(tensor) for tensor in layer.parts.values())


def as_float(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor in 32 bit, or in 64 bit where it is."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _norm(kind: str, parts: Parts, alpha: float | None) -> float | None:
    if DORA in parts or (kind == FULL and not {DIFF, BIAS} & parts.keys()):
        return None
    of_weight = _norm_of_weight(kind, parts)
    if of_weight is None:
        return None
    of_bias = _length(parts[BIAS]) if BIAS in parts else 0.0
    norm = math.hypot(of_weight * abs(kinds.scale_of(parts, alpha)), of_bias)
    return norm if math.isfinite(norm) else None


def _norm_of_weight(kind: str, parts: Parts) -> float | None:
    if kind == LORA:
        if MID in parts:
            return _length(kinds.PRODUCTS[LORA](parts))
        return product_norm(parts[UP].flatten(1), parts[DOWN].flatten(1))
    if kind == LOHA:
        return _hadamard_norm(parts)
    if kind == LOKR:
        return _kronecker_factor_norm(parts, "lokr_w1") * _kronecker_factor_norm(parts, "lokr_w2")
    if kind == FULL:
        return _length(parts[DIFF]) if DIFF in parts else 0.0
    return None


def product_norm(up: torch.Tensor, down: torch.Tensor) -> float:
    """The Frobenius norm of `up` [o, r] times `down` [r, i]: by matrices of [r, r], for a large rank by rows
    of the product. Raises ValueError for ranks that differ."""
    if up.shape[1] != down.shape[0]:
        raise ValueError("the ranks differ")
    if up.shape[1] > min(up.shape[0], down.shape[1]):
        return _norm_by_rows(up.shape[0], down.shape[1], lambda rows: up[rows] @ down)
    up, down = up.double(), down.double()
    return math.sqrt(max(0.0, float(((up.T @ up) * (down @ down.T)).sum())))


def _hadamard_norm(parts: Parts) -> float:
    if {"hada_t1", "hada_t2"} & parts.keys():
        return _length(kinds.PRODUCTS[LOHA](parts))
    a1, b1, a2, b2 = (parts[f"hada_{half}"].flatten(1) for half in ("w1_a", "w1_b", "w2_a", "w2_b"))
    return _norm_by_rows(len(a1), b1.shape[1], lambda rows: (a1[rows] @ b1) * (a2[rows] @ b2))


def _norm_by_rows(outputs: int, inputs: int, make: Callable[[slice], torch.Tensor]) -> float:
    rows = max(1, AT_ONCE // max(1, inputs))
    made = (make(slice(start, start + rows)) for start in range(0, outputs, rows))
    return math.sqrt(sum(float(block.double().pow(2).sum()) for block in made))


def _kronecker_factor_norm(parts: Parts, name: str) -> float:
    if name in parts:
        return _length(parts[name])
    left, right = parts[f"{name}_a"], parts[f"{name}_b"]
    if "lokr_t2" in parts and name == "lokr_w2":
        return _length(torch.einsum("rs...,ro,si->oi...", parts["lokr_t2"], left, right))
    return product_norm(left.flatten(1), right.flatten(1))


def _relative(kind: str, parts: Parts, alpha: float | None) -> float | None:
    """The norm of the turn (or of the factors) as a share of the identity's, which is what a weight without a
    preferred direction changes by."""
    if kind == DIAG_OFT:
        turn = turn_of(parts, alpha or 0.0)
        return _length(turn) / math.sqrt(turn.shape[0] * turn.shape[1])
    if kind == BOFT:
        turns = rotation(parts[OFT], alpha or 0.0)
        return _length(turns) / math.sqrt(turns.shape[1] * turns.shape[2])
    if kind == OFTV2:  # to first order, twice the skew matrix
        rows = parts[OFT_R]
        side = side_of(rows.shape[1])
        skew = _length(rows) / (2 * math.sqrt(side - 1) if bool(parts.get(SCALED, False)) else 1)
        return 2 * math.sqrt(2) * skew / math.sqrt(rows.shape[0] * side)
    if kind == IA3:
        factor = parts[PEFT_FACTOR] - 1 if PEFT_FACTOR in parts else parts[FACTOR]
        return _length(factor) / math.sqrt(max(1, factor.numel()))
    return None


def _length(tensor: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor, dtype=torch.float64))


def operations_of(layer: FileLayer) -> int:
    """Multiplications that measuring a layer of these shapes takes, or more than MOST_OPERATIONS where it
    would take too much memory. Shapes that don't go together take none: they are never multiplied."""
    try:
        return _operations(layer)
    except (IndexError, ValueError):
        return 0


def _operations(layer: FileLayer) -> int:
    shapes = layer.shapes
    products = products_of(shapes)
    if any(product.has_core for product in products):
        whole = layer.kind in (LORA, LOHA)  # a LoKr's factors are never multiplied with each other
        if max(product.largest for product in products if whole or product.has_core) > LARGEST_MADE:
            return MOST_OPERATIONS + 1
        return sum(product.operations for product in products)
    if layer.kind == LORA:
        (product,) = products
        outputs, inputs, rank = product.outputs, product.inputs, product.ranks[0]
        return rank * (outputs * inputs if rank > min(outputs, inputs) else rank * (outputs + inputs))
    if layer.kind == LOHA:
        return sum(product.operations + 2 * product.outputs * product.inputs for product in products)
    if layer.kind == LOKR:
        factors = [shapes[part] for part in shapes if part.startswith("lokr_w")]
        return sum(math.prod(shape) * min(matrix_of(shape)) for shape in factors)
    if layer.kind in (DIAG_OFT, BOFT):
        return math.prod(shapes.get(OFT, shapes.get(OFT_DIAG, (0,)))) * shapes.get(OFT, (1,))[-1]
    return layer.values
