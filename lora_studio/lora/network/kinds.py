"""The mathematics of each kind of network, on the tensors of one layer as its file holds them.

Shape letters: o outputs, i inputs (times the kernel's size), r rank, k kernel. A weight is [o, i] or
[o, i, k, k]. The formulas are those of LyCORIS (Yeh et al. 2023), which A1111, Forge and ComfyUI share.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence

import torch

from lora_studio.lora.file.contents import (
    BOFT,
    DIAG_OFT,
    FULL,
    GENERALIZED,
    IA3,
    LOHA,
    LOKR,
    LORA,
    OFTV2,
    kind_of,
)
from lora_studio.lora.file.keys import (
    ALPHA,
    BIAS,
    DIFF,
    DORA,
    DOWN,
    FACTOR,
    GLORA,
    MID,
    OFT,
    ON_INPUT,
    PEFT_FACTOR,
    RESCALE,
    SCALED,
    SET,
    UP,
)
from lora_studio.lora.network.orthogonal import butterflied, inputs_turned, rotated

__all__ = ["BOFT", "FULL", "GENERALIZED", "IA3", "OFTV2", "kind_of"]  # beside what is defined here

Parts = Mapping[str, torch.Tensor]
FLAT = re.compile(r"hada_w[12]_[ab]|lokr_w[12]_[ab]")
"""Factors that are matrices, whatever dimensions a file gives them."""
BESIDE = (DORA, ALPHA, RESCALE, BIAS, ON_INPUT)
"""Parts that are no factor of the change."""


def rank_of(shapes: Mapping[str, Sequence[int]]) -> int:
    """The rank that alpha is divided by; 0 where it is not divided (LoKr with two full matrices, OFT)."""
    for part, axis in ((DOWN, 0), ("hada_w1_b", 0), ("lokr_w2_b", 0), ("lokr_w1_b", 0)):
        if part in shapes:
            return int(shapes[part][axis])
    return 0


def scale_of(parts: Parts, alpha: float | None) -> float:
    """alpha / rank; 1 without either."""
    rank = rank_of({part: tensor.shape for part, tensor in parts.items()})
    return alpha / rank if alpha and rank else 1.0


def change(kind: str, parts: Parts, shape: torch.Size) -> torch.Tensor:
    """The tensor that LoRA, LoHa or LoKr adds to a weight of this shape, before scaling."""
    return PRODUCTS[kind](parts).reshape(shape)


def depends_on_weight(kind: str) -> bool:
    """Whether the change is computed from the weight that is changed, or is no product of factors."""
    return kind in DEPENDENT


def addition(kind: str, parts: Parts, weight: torch.Tensor, alpha: float | None) -> torch.Tensor:
    """The scaled tensor that a layer of these kinds adds to `weight`."""
    return DEPENDENT[kind](weight, parts, alpha or 0.0)


def fits(kind: str, shapes: Mapping[str, Sequence[int]], weight: Sequence[int]) -> bool:
    """Whether tensors of these shapes make a change of a weight of that shape; the dimensions may differ (see
    `fitted`). Only shapes are computed."""
    # A flag has no value without its tensor.
    parts = {
        name: torch.empty(tuple(shape), device="meta") for name, shape in shapes.items() if name != SCALED
    }
    base = torch.empty(tuple(weight), device="meta")
    try:
        if kind == IA3:
            factor = next(tensor for name, tensor in parts.items() if name in (FACTOR, PEFT_FACTOR))
            return factor.numel() in weight[:2] and len(weight) > 1
        parts = fitted(kind, parts, base.shape)
        if base.dim() < 2 and kind != FULL:
            return False  # a norm has nothing that could be turned or multiplied
        if kind in DEPENDENT:
            made = DEPENDENT[kind](base, parts, 0.0)
        else:
            made = change(kind, parts, base.shape)
        if DORA in parts:
            decomposed(base, parts[DORA])
        return made.shape == base.shape and (BIAS not in parts or parts[BIAS].numel() == base.shape[0])
    except (RuntimeError, ValueError, IndexError, KeyError, ZeroDivisionError):
        return False


def fitted(kind: str, parts: Parts, weight: torch.Size) -> dict[str, torch.Tensor]:
    """A layer's tensors with the dimensions that go with a weight of this shape. Programs write a 1x1
    convolution as [o, i], a linear layer as [o, i, 1, 1], and a kernel in one row; all multiply the factors
    flat. A bias of another size is left out. Raises RuntimeError, ValueError for sizes that don't go
    together."""
    found = dict(parts)
    if kind == LORA:
        ones = [1] * (len(weight) - 2)
        down, up = found[DOWN].flatten(1), found[UP].flatten(1)
        if down.shape[0] != up.shape[1] or up.shape[0] != weight[0]:
            raise ValueError("the ranks differ")
        inner = (weight[1], *ones) if MID in found else tuple(weight[1:])
        found[DOWN], found[UP] = down.reshape(-1, *inner), up.reshape(*up.shape, *ones)
    else:
        for name in [name for name in found if FLAT.fullmatch(name)]:
            if not {f"hada_t{name[6]}", "lokr_t2"} & found.keys():
                found[name] = found[name].flatten(1)
    if BIAS in found and found[BIAS].numel() == weight[0]:
        found[BIAS] = found[BIAS].flatten()
    elif len(found) > 1:
        found.pop(BIAS, None)
    return found


def magnitudes(weight: torch.Tensor, *, on_output: bool) -> torch.Tensor:
    """DoRA's norms (Liu et al. 2024): [o, 1, ...] of each output or [1, i, ...] of each input."""
    dims = [dim for dim in range(weight.dim()) if dim != (0 if on_output else 1)]
    return torch.linalg.vector_norm(weight, dim=dims, keepdim=True)


def decomposed(weight: torch.Tensor, magnitude: torch.Tensor) -> torch.Tensor:
    """The weight with DoRA's norms. Norms of inputs have 1 as their first side, also where both would fit."""
    on_output = magnitude.shape[0] == weight.shape[0] and magnitude.shape[0] > 1
    norms = magnitudes(weight, on_output=on_output)
    factor = magnitude.reshape(norms.shape) / norms.clamp(min=torch.finfo(norms.dtype).tiny)
    return weight * factor


def is_finite(tensor: torch.Tensor) -> bool:
    """Whether no real number is NaN or infinite. A format of 4 bits has neither, nor any arithmetic."""
    if not tensor.is_floating_point():
        return True
    if tensor.itemsize == 1:
        try:
            tensor = tensor.float()
        except NotImplementedError:
            return True
    # A sum with one of them is none either, and takes a fifth of the time; a sum may also grow too large.
    return math.isfinite(tensor.sum()) or bool(tensor.isfinite().all())


def is_zero(kind: str, parts: Parts) -> bool:
    """Whether the layer adds nothing, leaving DoRA's magnitudes aside."""
    if BIAS in parts and bool(parts[BIAS].any()):
        return False
    if kind in (DIAG_OFT, BOFT):
        blocks, rescale = parts.get(OFT), parts.get(RESCALE)
        still = blocks is not None and torch.equal(blocks, blocks.transpose(-1, -2))
        return still and (rescale is None or bool((rescale == 1).all()))
    if kind in DEPENDENT:
        return not any(bool(parts[name].any()) for name in factors(kind, parts))
    return any(not bool(parts[name].any()) for name in factors(kind, parts))


def adds_nothing(kind: str, parts: Parts) -> bool:
    """Whether a layer of a file certainly adds 0, in any number format. A DoRA's magnitudes and tensors that
    replace or scale a weight may always do something."""
    if kind not in (LORA, LOHA, LOKR, FULL) or {DORA, SET} & parts.keys():
        return False
    exact = {part: tensor.float() if tensor.itemsize == 1 else tensor for part, tensor in parts.items()}
    return is_zero(kind, exact)


def factors(kind: str, parts: Collection[str]) -> list[str]:
    """Names of the tensors that a layer's change is a product of."""
    return [OFT] if kind == DIAG_OFT else [name for name in parts if name not in BESIDE]


def _low_rank(parts: Parts) -> torch.Tensor:
    down, up = parts[DOWN], parts[UP]
    if MID in parts:
        return torch.einsum("mn...,im,nj->ij...", parts[MID], up.flatten(1), down.flatten(1))
    return up.flatten(1) @ down.flatten(1)


def _hadamard(parts: Parts) -> torch.Tensor:
    return _hada_half(parts, "1") * _hada_half(parts, "2")


def _hada_half(parts: Parts, number: str) -> torch.Tensor:
    a, b = parts[f"hada_w{number}_a"], parts[f"hada_w{number}_b"]
    core = parts.get(f"hada_t{number}")
    return a @ b if core is None else torch.einsum("rs...,ro,si->oi...", core, a, b)


def _kronecker(parts: Parts) -> torch.Tensor:
    small = parts["lokr_w1"] if "lokr_w1" in parts else parts["lokr_w1_a"] @ parts["lokr_w1_b"]
    if "lokr_w2" in parts:
        large = parts["lokr_w2"]
    elif "lokr_t2" in parts:
        large = torch.einsum("rs...,ro,si->oi...", parts["lokr_t2"], parts["lokr_w2_a"], parts["lokr_w2_b"])
    else:
        large = parts["lokr_w2_a"] @ parts["lokr_w2_b"]
    for _ in range(large.dim() - small.dim()):
        small = small.unsqueeze(-1)
    return torch.kron(small, large.contiguous())


def _whole(weight: torch.Tensor, parts: Parts, _: float) -> torch.Tensor:
    if SET in parts:
        return parts[SET].reshape(weight.shape) - weight
    return parts[DIFF].reshape(weight.shape) if DIFF in parts else torch.zeros_like(weight)


def _scaled(weight: torch.Tensor, parts: Parts, _: float) -> torch.Tensor:
    """(IA)^3 (Liu et al. 2022): each output or input times a factor of its own. PEFT's tensor is the factor,
    LyCORIS' the factor less 1."""
    if PEFT_FACTOR in parts:
        factor = parts[PEFT_FACTOR] - 1
        on_input = factor.dim() > 1 and factor.shape[0] == 1 != weight.shape[0]
    else:
        factor, on_input = parts[FACTOR], bool(parts[ON_INPUT])
    ones = [1] * (weight.dim() - 2)
    return weight * (factor.reshape(1, -1, *ones) if on_input else factor.reshape(-1, 1, *ones))


def _generalized(weight: torch.Tensor, parts: Parts, alpha: float) -> torch.Tensor:
    """GLoRA (Chavan et al. 2023): W A + B, both of low rank. Early files of LyCORIS have the two factors of
    each the other way round."""
    a1, a2, b1, b2 = (parts[name].flatten(1) for name in GLORA)
    if not is_new_glora({name: parts[name].shape for name in GLORA}, weight.shape):
        a1, a2, b1, b2 = a2, a1, b2, b1
    rank = a2.shape[0]
    added = torch.einsum("oi...,ir,rj->oj...", weight, a1, a2) + (b1 @ b2).reshape(weight.shape)
    return added * (alpha / rank if alpha else 1.0)


def is_new_glora(shapes: Mapping[str, Sequence[int]], weight: Sequence[int]) -> bool:
    """Whether the first factor of each pair is the one on the side of the outputs."""
    a1, a2, b1, b2 = (shapes[name] for name in GLORA)
    return a1[1] == a2[0] == b1[1] == b2[0] and b1[0] == weight[0]


PRODUCTS: Mapping[str, Callable[[Parts], torch.Tensor]] = {
    LORA: _low_rank,
    LOHA: _hadamard,
    LOKR: _kronecker,
}
DEPENDENT: Mapping[str, Callable[[torch.Tensor, Parts, float], torch.Tensor]] = {
    DIAG_OFT: rotated,
    BOFT: butterflied,
    OFTV2: inputs_turned,
    FULL: _whole,
    IA3: _scaled,
    GENERALIZED: _generalized,
}
