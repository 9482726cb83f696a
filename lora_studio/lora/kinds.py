"""The mathematics of each kind of network, on the tensors of one layer as its file holds them.

Shape letters: o outputs, i inputs (times the kernel's size), r rank, k kernel. A weight is [o, i] or
[o, i, k, k]. The formulas are those of LyCORIS (Yeh et al. 2023), which A1111, Forge and ComfyUI share.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence

import torch

from lora_studio.lora.keys import ALPHA, DORA, DOWN, MID, OFT, RESCALE, UP

LORA, LOHA, LOKR, DIAG_OFT = "lora", "loha", "lokr", "diag-oft"
Parts = Mapping[str, torch.Tensor]


def kind_of(parts: Collection[str]) -> str:
    """The kind that a layer with these parts belongs to; empty when it lacks something or is none."""
    if DOWN in parts and UP in parts:
        return LORA
    if {"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"} <= set(parts):
        return LOHA
    if _has_factor(parts, "lokr_w1") and _has_factor(parts, "lokr_w2"):
        return LOKR
    return DIAG_OFT if OFT in parts else ""


def rank_of(shapes: Mapping[str, Sequence[int]]) -> int:
    """The rank that alpha is divided by; 0 where nothing is (LoKr with two full matrices, OFT)."""
    for part, axis in ((DOWN, 0), ("hada_w1_b", 0), ("lokr_w2_b", 0), ("lokr_w1_b", 0)):
        if part in shapes:
            return int(shapes[part][axis])
    return 0


def scale_of(parts: Parts, alpha: float | None) -> float:
    """alpha / rank; 1 without either."""
    rank = rank_of({part: tensor.shape for part, tensor in parts.items()})
    return alpha / rank if alpha and rank else 1.0


def change(kind: str, parts: Parts, shape: torch.Size) -> torch.Tensor:
    """What LoRA, LoHa or LoKr adds to a weight of this shape, before scaling."""
    return PRODUCTS[kind](parts).reshape(shape)


def fits(kind: str, shapes: Mapping[str, Sequence[int]], weight: Sequence[int]) -> bool:
    """Whether tensors of these shapes make a change of a weight of that shape. Only shapes are computed."""
    parts = {name: torch.empty(*shape, device="meta") for name, shape in shapes.items()}
    flat = (weight[0], math.prod(weight[1:]))
    try:
        if kind == DIAG_OFT:
            number, size, other = parts[OFT].shape
            return size == other and number * size == weight[0]
        if kind == LORA and (parts[DOWN].dim() != len(weight) or parts[UP].dim() != len(weight)):
            return False
        if kind == LORA and MID not in parts and tuple(parts[DOWN].shape[1:]) != tuple(weight[1:]):
            return False
        if tuple(PRODUCTS[kind](parts).shape) not in (tuple(weight), flat):
            return False
        if DORA in parts:
            decomposed(torch.empty(*weight, device="meta"), parts[DORA])
    except (RuntimeError, ValueError, IndexError):
        return False
    return True


def rotation(blocks: torch.Tensor, alpha: float) -> torch.Tensor:
    """OFT's rotation less the identity, [n, b, b], of blocks [n, b, b] (Cayley transform; Qiu et al. 2023).
    alpha times the number of outputs bounds the length of all blocks together; 0: no bound."""
    skew = blocks - blocks.transpose(1, 2)
    bound = alpha * blocks.shape[0] * blocks.shape[1]
    if bound > 0:
        skew = skew * (bound / (torch.linalg.norm(skew) + 1e-8)).clamp(max=1)
    eye = torch.eye(blocks.shape[1], device=blocks.device, dtype=blocks.dtype)
    return torch.linalg.solve(eye - skew, eye + skew, left=False) - eye


def rotated(weight: torch.Tensor, parts: Parts, alpha: float) -> torch.Tensor:
    """What OFT adds to a weight [o, ...]: it turns the outputs among each other."""
    turn = rotation(parts[OFT], alpha)
    number, size, _ = turn.shape
    added = torch.einsum("knm,kn...->km...", turn, weight.reshape(number, size, -1)).reshape(weight.shape)
    if RESCALE in parts:
        factor = parts[RESCALE].reshape(-1, *[1] * (weight.dim() - 1))
        added = factor * (weight + added) - weight
    return added


def magnitudes(weight: torch.Tensor, *, on_output: bool) -> torch.Tensor:
    """DoRA's norms (Liu et al. 2024): [o, 1, ...] of each output or [1, i, ...] of each input."""
    dims = [dim for dim in range(weight.dim()) if dim != (0 if on_output else 1)]
    return torch.linalg.vector_norm(weight, dim=dims, keepdim=True)


def decomposed(weight: torch.Tensor, magnitude: torch.Tensor) -> torch.Tensor:
    """The weight with DoRA's norms. Those of inputs have 1 as their first side, also where both would fit."""
    on_output = magnitude.shape[0] == weight.shape[0] and magnitude.shape[0] > 1
    norms = magnitudes(weight, on_output=on_output)
    factor = magnitude.reshape(norms.shape) / norms.clamp(min=torch.finfo(norms.dtype).tiny)
    return weight * factor


def is_zero(kind: str, parts: Parts) -> bool:
    """Whether the layer adds nothing, leaving DoRA's magnitudes aside."""
    if kind == DIAG_OFT:
        blocks = parts[OFT]
        rescale = parts.get(RESCALE)
        return torch.equal(blocks, blocks.transpose(1, 2)) and (rescale is None or bool((rescale == 1).all()))
    return any(not bool(parts[name].any()) for name in factors(kind, parts))


def factors(kind: str, parts: Collection[str]) -> list[str]:
    """The tensors that a layer's change is a product of."""
    return [OFT] if kind == DIAG_OFT else [name for name in parts if name not in (DORA, ALPHA, RESCALE)]


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


PRODUCTS: Mapping[str, Callable[[Parts], torch.Tensor]] = {
    LORA: _low_rank,
    LOHA: _hadamard,
    LOKR: _kronecker,
}


def _has_factor(parts: Collection[str], name: str) -> bool:
    return name in parts or {f"{name}_a", f"{name}_b"} <= set(parts)
