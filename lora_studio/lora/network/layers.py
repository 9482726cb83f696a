"""Changes of single layers, put on and taken off without touching the model: a forward hook.

Training uses it for the kinds that PEFT can't write for other programs, generation for all kinds. PEFT's OFT
turns the inputs where every program that reads `oft_blocks` turns the outputs; its DoRA knows only norms of
outputs; see docs/adr/0002-layers-of-our-own.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from torch.utils.hooks import RemovableHandle

from lora_studio.lora.file.keys import BIAS, DORA, DOWN, MID, OFT, RESCALE, UP
from lora_studio.lora.network import kinds
from lora_studio.lora.network.orthogonal import turn_of
from lora_studio.lora.network.output_rows import OutputRows, Place, SideBySide, modules_of, shape_of
from lora_studio.lora.network.weights import LayerWeights


@dataclass(frozen=True, kw_only=True)
class Dropouts:
    """Chances 0 to 1, in training only: `network` of an entry of the rank, `rank` of one rank for one
    picture, `module` of a layer's whole change."""

    network: float = 0.0
    rank: float = 0.0
    module: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.network or self.rank or self.module)


NO_DROPOUTS = Dropouts()


@dataclass(kw_only=True, eq=False)
class Change:
    """The change that a network makes to one layer. `weights` go by their names in the file; `strength` is
    the weight that a request gives the whole network."""

    kind: str
    base: Any
    weights: dict[str, torch.nn.Parameter]
    alpha: float | None
    strength: float = 1.0
    dropouts: Dropouts = field(default_factory=Dropouts)
    off: bool = False

    @property
    def scale(self) -> float:
        """strength x alpha / rank, multiplied in PEFT's order, so that both give the same bits."""
        return self.strength * self.alpha / self._rank if self.alpha and self._rank else self.strength

    @cached_property
    def _rank(self) -> int:
        return kinds.rank_of({name: weight.shape for name, weight in self.weights.items()})

    def added(self, inputs: torch.Tensor, output: torch.Tensor) -> torch.Tensor | None:
        """The tensor to add to the layer's output; None when dropped or switched off."""
        if self.off:
            return None
        training = self.base.training and torch.is_grad_enabled()
        if training and self.dropouts.module and torch.rand(1) < self.dropouts.module:
            return None
        added = self._of_weight(inputs, output, training)
        if BIAS in self.weights:
            bias = self.strength * self.weights[BIAS].to(output.dtype)
            added = added + (bias.view(-1, 1, 1) if output.dim() == 4 else bias)
        return added

    def added_to(
        self, module: torch.nn.Module, inputs: torch.Tensor, output: torch.Tensor
    ) -> torch.Tensor | None:
        """The tensor to add to the output of a module that the layer is, is a part of, or consists of."""
        base = self.base
        if isinstance(base, SideBySide):
            return base.share(module, inputs, lambda: self.added(inputs, base.outputs(inputs)), self)
        if isinstance(base, OutputRows):
            added = self.added(inputs, base.outputs(output))
            return None if added is None else base.widened(added, output)
        return self.added(inputs, output)

    def _of_weight(self, inputs: torch.Tensor, output: torch.Tensor, training: bool) -> torch.Tensor:
        if self.kind == kinds.LORA and DORA not in self.weights:
            return self._low_rank(inputs)
        if self.weights.keys() == {BIAS}:
            return torch.zeros_like(output)
        keep = self._kept_rows() if training and self.dropouts.rank else None
        if self.kind == kinds.DIAG_OFT and keep is None:
            return self._turned(output)
        if torch.is_grad_enabled():
            # The steps in between are as large as the layer's weight: made anew for the gradient, not kept.
            delta = checkpoint(self.delta, keep, use_reentrant=False, preserve_rng_state=False)
        else:
            delta = self.delta(keep)
        return apply_weight(self.base, inputs, delta.to(output.dtype))

    def delta(self, keep: torch.Tensor | None = None) -> torch.Tensor:
        """The tensor to add to the layer's weight, in 32 bit: its small differences would be lost in less.
        `keep` [o] says which of its rows count."""
        parts = {name: tensor.float() for name, tensor in self.weights.items()}
        device = next(iter(parts.values())).device  # where the layer computes, wherever it waits
        with torch.autocast(device.type, enabled=False):
            if not kinds.depends_on_weight(self.kind) and DORA not in parts:
                return self.scale * _masked(kinds.change(self.kind, parts, shape_of(self.base)), keep)
            weight = self.base.weight.detach().to(device, torch.float32)
            if kinds.depends_on_weight(self.kind):
                return self.strength * _masked(kinds.addition(self.kind, parts, weight, self.alpha), keep)
            plain = kinds.change(self.kind, parts, weight.shape)
            moved = weight + kinds.scale_of(parts, self.alpha) * _masked(plain, keep)
            return self.strength * (kinds.decomposed(moved, parts[DORA]) - weight)

    def hold(self, device: torch.device | str, dtype: torch.dtype | None = None) -> None:
        """Move the weights, which stay the same objects."""
        for weight in self.weights.values():
            weight.data = weight.data.to(device, dtype)

    def settle(self, device: str = "") -> None:
        """Move the weights to `device` (empty: the layer's), and to the layer's format if that is exact."""
        weight: Any = modules_of(self.base)[0].weight
        is_plain = self.kind in (kinds.LORA, kinds.FULL) and DORA not in self.weights
        self.hold(device or weight.device, weight.dtype if is_plain else torch.float32)

    @torch.no_grad()
    def check(self) -> None:
        """Compute the change once where shapes alone don't tell whether that works. Raises RuntimeError,
        ValueError where it doesn't."""
        if kinds.depends_on_weight(self.kind) and self.kind != kinds.FULL:
            self.delta()

    def _low_rank(self, inputs: torch.Tensor) -> torch.Tensor:
        if isinstance(self.base, torch.nn.Embedding):
            words = functional.embedding(inputs, self.weights[UP].flatten(1))
            return words @ self.weights[DOWN].flatten(1) * self.scale
        if not torch.is_autocast_enabled(inputs.device.type):
            inputs = inputs.to(self.weights[DOWN].dtype)
        if MID in self.weights:
            middle = apply_weight(self.base, functional.conv2d(inputs, self.weights[DOWN]), self.weights[MID])
        else:
            middle = apply_weight(self.base, inputs, self.weights[DOWN])
        up, scale = self.weights[UP], self.scale
        lifted = functional.conv2d(middle, up) if up.dim() == 4 else functional.linear(middle, up)
        return lifted if scale == 1 else lifted * scale

    def _turned(self, output: torch.Tensor) -> torch.Tensor:
        """OFT's change of the output: it turns outputs among each other, which is cheaper than turning the
        weight. The bias is not turned."""
        axis = 1 if self.base.weight.dim() == 4 else -1
        bias: Any = getattr(self.base, "bias", None)
        values = output.movedim(axis, -1)
        values = values if bias is None else values - bias.to(values.dtype)
        with torch.autocast(output.device.type, enabled=False):
            turn = turn_of({name: part.float() for name, part in self.weights.items()}, self.alpha or 0.0)
        number, size, _ = turn.shape
        blocks = values.reshape(*values.shape[:-1], number, size)
        added = torch.einsum("knm,...kn->...km", turn.to(values.dtype), blocks).reshape(values.shape)
        if RESCALE in self.weights:
            added = self.weights[RESCALE].flatten().to(values.dtype) * (values + added) - values
        return (self.strength * added).movedim(-1, axis)

    def _kept_rows(self) -> torch.Tensor:
        rows = torch.rand(self.base.weight.shape[0]) > self.dropouts.rank
        return rows.to(self.base.weight.device)


def change_from(base: Place, layer: LayerWeights, strength: float = 1.0) -> Change:
    """The change that a file makes to a layer of the base, its tensors in the dimensions that go with it.
    Raises ValueError, RuntimeError for sizes that don't."""
    parts = kinds.fitted(layer.kind, layer.parts, shape_of(base))
    weights = {part: torch.nn.Parameter(tensor, requires_grad=False) for part, tensor in parts.items()}
    return Change(kind=layer.kind, base=base, weights=weights, alpha=layer.alpha, strength=strength)


def put_on(module: torch.nn.Module, changes: Iterable[Change]) -> RemovableHandle:
    """Add these changes, of which the module is a place, to its output, each computed from the module's own
    output, until the handle is removed."""
    wanted = tuple(changes)

    def hook(_: torch.nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        total = output
        for change in wanted:
            added = change.added_to(module, inputs[0], output)
            if added is not None:
                total = total + added.to(output.dtype)
        return total

    return module.register_forward_hook(hook)


def apply_weight(base: Any, inputs: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The output of layer `base` (linear, convolution, norm, embedding) with this weight, without bias."""
    if isinstance(base, torch.nn.Linear):
        return functional.linear(inputs, weight)
    if isinstance(base, torch.nn.Embedding):
        return functional.embedding(inputs, weight)
    if isinstance(base, torch.nn.GroupNorm):
        return functional.group_norm(inputs, base.num_groups, weight, eps=base.eps)
    if isinstance(base, torch.nn.LayerNorm):
        return functional.layer_norm(inputs, base.normalized_shape, weight, eps=base.eps)
    if weight.dim() == 4:
        return functional.conv2d(
            inputs, weight, stride=base.stride, padding=base.padding, dilation=base.dilation
        )
    return functional.linear(inputs, weight)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The making of a network: kind, DoRA or not, LyCORIS' options, dropouts; OFT's `constraint` as alpha."""

    kind: str = kinds.LORA
    dora_wd: bool = False
    wd_on_output: bool = False
    factor: int = -1
    decompose_both: bool = False
    full_matrix: bool = False
    constraint: float = 0.0
    dropouts: Dropouts = NO_DROPOUTS

    @property
    def is_plain(self) -> bool:
        return self.kind == kinds.LORA and not self.dora_wd


def fresh_weights(base: Any, shape: Shape, dim: int) -> dict[str, torch.Tensor]:
    """The first weights of a layer's network, drawn from torch's generator as LyCORIS draws them, so that the
    layer's output does not change yet. Layers on the meta device give meta tensors."""
    make = {
        kinds.LORA: _fresh_lora,
        kinds.LOHA: _fresh_loha,
        kinds.LOKR: _fresh_lokr,
        kinds.DIAG_OFT: _fresh_oft,
    }[shape.kind]
    weights: dict[str, torch.Tensor] = make(base.weight, shape, dim)
    if shape.dora_wd:
        weight = base.weight.detach().float()
        weights[DORA] = kinds.magnitudes(weight, on_output=shape.wd_on_output).to(base.weight.device)
    return weights


def factorization(number: int, factor: int) -> tuple[int, int]:
    """LyCORIS' split of a side into (smaller, larger): the smaller is `factor` or the largest divisor below
    it; for -1 the two are as near to each other as can be."""
    limit = number if factor <= 0 else factor
    if factor > 0 and number % factor == 0:
        return min(factor, number // factor), max(factor, number // factor)
    small = max(one for one in range(1, math.isqrt(number) + 1) if number % one == 0 and one <= limit)
    return small, number // small


def _fresh_lora(weight: torch.Tensor, _: Shape, dim: int) -> dict[str, torch.Tensor]:
    outputs, *inputs = weight.shape
    up = torch.zeros(outputs, dim, *[1] * (weight.dim() - 2), device=weight.device)
    return {DOWN: _kaiming(weight, dim, *inputs), UP: up}


def _fresh_loha(weight: torch.Tensor, _: Shape, dim: int) -> dict[str, torch.Tensor]:
    outputs, inputs = weight.shape[0], math.prod(weight.shape[1:])
    return {
        "hada_w1_a": _normal(weight, 0.1, outputs, dim),
        "hada_w1_b": _normal(weight, 1.0, dim, inputs),
        "hada_w2_a": torch.zeros(outputs, dim, device=weight.device),
        "hada_w2_b": _normal(weight, 1.0, dim, inputs),
    }


def _fresh_lokr(weight: torch.Tensor, shape: Shape, dim: int) -> dict[str, torch.Tensor]:
    (out_small, out_large), (in_small, in_large) = (
        factorization(side, shape.factor) for side in weight.shape[:2]
    )
    kernel = weight.shape[2:]
    found: dict[str, torch.Tensor] = {}
    if shape.decompose_both and dim < max(out_small, in_small) / 2 and not shape.full_matrix:
        found["lokr_w1_a"] = _kaiming(weight, out_small, dim)
        found["lokr_w1_b"] = _kaiming(weight, dim, in_small)
    else:
        found["lokr_w1"] = _kaiming(weight, out_small, in_small)
    if shape.full_matrix or dim >= max(out_large, in_large) / 2:
        found["lokr_w2"] = torch.zeros(out_large, in_large, *kernel, device=weight.device)
    else:
        found["lokr_w2_a"] = _kaiming(weight, out_large, dim)
        found["lokr_w2_b"] = torch.zeros(dim, in_large * math.prod(kernel), device=weight.device)
    return found


def _fresh_oft(weight: torch.Tensor, _: Shape, dim: int) -> dict[str, torch.Tensor]:
    size, number = factorization(weight.shape[0], dim)
    return {OFT: torch.zeros(number, size, size, device=weight.device)}


def _kaiming(weight: torch.Tensor, *sides: int) -> torch.Tensor:
    tensor = torch.empty(*sides, device=weight.device)
    return torch.nn.init.kaiming_uniform_(tensor, a=math.sqrt(5))


def _normal(weight: torch.Tensor, deviation: float, *sides: int) -> torch.Tensor:
    return torch.nn.init.normal_(torch.empty(*sides, device=weight.device), std=deviation)


def _masked(change: torch.Tensor, keep: torch.Tensor | None) -> torch.Tensor:
    return change if keep is None else change * keep.view(-1, *[1] * (change.dim() - 1))
