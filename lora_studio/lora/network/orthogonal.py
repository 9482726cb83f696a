"""Networks that turn a weight instead of adding to it: OFT (Qiu et al. 2023) and BOFT (Liu et al. 2023) as
LyCORIS, sd-scripts, OneTrainer and PEFT have them.

Shape letters: o outputs, i inputs (times the kernel's size), n blocks, b a block's side, m factors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from lora_studio.lora.file.keys import OFT, OFT_DIAG, OFT_R, RESCALE, SCALED

Parts = Mapping[str, torch.Tensor]


def rotation(blocks: torch.Tensor, alpha: float) -> torch.Tensor:
    """The rotation less the identity, [..., b, b], of blocks [..., b, b] (Cayley transform). alpha times the
    number of outputs bounds the length of all blocks together; 0: no bound."""
    skew = blocks - blocks.transpose(-1, -2)
    bound = alpha * blocks.shape[-3] * blocks.shape[-1]
    if bound > 0:
        skew = skew * (bound / (torch.linalg.norm(skew) + 1e-8)).clamp(max=1)
    eye = torch.eye(blocks.shape[-1], device=blocks.device, dtype=blocks.dtype)
    return torch.linalg.solve(eye - skew, eye + skew, left=False) - eye


def turn_of(parts: Parts, alpha: float) -> torch.Tensor:
    """The rotation less the identity [n, b, b]. Early files of LyCORIS hold the rotation itself."""
    if OFT_DIAG in parts:
        turn = parts[OFT_DIAG]
        return turn - torch.eye(turn.shape[-1], device=turn.device, dtype=turn.dtype)
    return rotation(parts[OFT], alpha)


def rotated(weight: torch.Tensor, parts: Parts, alpha: float) -> torch.Tensor:
    """OFT's change of a weight [o, ...]: outputs are turned among each other. Raises ValueError for blocks
    that cover other outputs."""
    turn = turn_of(parts, alpha)
    number, size, side = turn.shape
    if size != side or number * size != weight.shape[0]:
        raise ValueError("the blocks of OFT cover other outputs")
    added = torch.einsum("knm,kn...->km...", turn, weight.reshape(number, size, -1)).reshape(weight.shape)
    return _rescaled(weight, weight + added, parts) - weight if RESCALE in parts else added


def butterflied(weight: torch.Tensor, parts: Parts, alpha: float) -> torch.Tensor:
    """BOFT's change of a weight [o, ...]: outputs are turned in m rounds, each among others, which lie twice
    as far apart from one round to the next."""
    factors = rotation(parts[OFT], alpha)
    rounds, number, size, _ = factors.shape
    eye = torch.eye(size, device=factors.device, dtype=factors.dtype)
    turned = weight.reshape(weight.shape[0], -1)
    for place in range(rounds):
        apart = 2**place * (size // 2)
        mixed = turned.reshape(-1, 2, apart, turned.shape[1]).transpose(1, 2)
        blocks = mixed.reshape(number, size, -1)
        blocks = torch.einsum("nij,njx->nix", factors[place] + eye, blocks)
        turned = blocks.reshape(mixed.shape).transpose(1, 2).reshape(turned.shape)
    return _rescaled(weight, turned.reshape(weight.shape), parts) - weight


def inputs_turned(weight: torch.Tensor, parts: Parts, alpha: float) -> torch.Tensor:
    """The change of a weight [o, ...] by OFT as of PEFT and OneTrainer (`oft_R`): inputs, kernel included,
    are turned among each other. The blocks' upper triangles stand in rows; one row is shared by all blocks;
    the Cayley transform is cut off behind the fourth power, as both programs have it. Raises ValueError for
    blocks that don't stand in rows."""
    rows = parts[OFT_R]
    if rows.dim() != 2:
        raise ValueError("the blocks of OFT v2 stand in rows")
    size = side_of(rows.shape[1])
    entries = rows / (2 * math.sqrt(size - 1)) if bool(parts.get(SCALED, False)) else rows
    upper = entries.new_zeros(len(rows), size, size)
    place = torch.triu_indices(size, size, 1, device=rows.device)
    upper[:, place[0], place[1]] = entries
    skew = upper - upper.transpose(1, 2)
    square = skew @ skew
    turn = 2 * skew + 2 * square + 2 * square @ skew + square @ square
    blocks = weight.reshape(weight.shape[0], -1, size)
    return torch.einsum("ork,rkc->orc", blocks, turn.expand(blocks.shape[1], -1, -1)).reshape(weight.shape)


def side_of(entries: int) -> int:
    """The side of a skew matrix with so many entries in its upper triangle. Raises ValueError for none."""
    side = (1 + math.isqrt(1 + 8 * entries)) // 2
    if side < 2 or side * (side - 1) != 2 * entries:
        raise ValueError(f"no triangle has {entries} entries")
    return side


def _rescaled(weight: torch.Tensor, turned: torch.Tensor, parts: Parts) -> torch.Tensor:
    if RESCALE not in parts:
        return turned
    return parts[RESCALE].reshape(-1, *[1] * (weight.dim() - 1)) * turned
