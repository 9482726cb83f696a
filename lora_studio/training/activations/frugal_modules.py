"""The modules of a large model, changed so that a step keeps less for its way back, to the same bits."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from diffusers.models.activations import GEGLU, GELU
from peft.tuners.lora import LoraLayer
from torch import nn
from torch.nn import functional
from transformers.activations import GELUActivation, QuickGELUActivation

from lora_studio.training.activations.frozen_layers import FrozenConvolution, RecomputedActivation
from lora_studio.training.activations.remade_tensors import is_large, mark, recipe_of, remaking

LARGE = 50_000_000
"""Weights of a model from which on this is done. A step of a smaller one takes little memory, and so little
time that a few microseconds for each tensor would show."""

Forward = Callable[[torch.Tensor], torch.Tensor]


class FrugalModules:
    """The changed modules of `models`, those that are large. With `is_half` they compute in half precision.
    Nothing changes where no gradients are made, nor in what torch.compile compiles, which decides by itself
    what it keeps."""

    def __init__(self, models: Iterable[Any], *, is_half: bool) -> None:
        self._is_on = True
        self._found = False
        for model in models:
            if sum(weight.numel() for weight in model.parameters()) < LARGE:
                continue
            self._found = True
            for module in model.modules():
                self._change(module, is_half)

    def remaking(self) -> AbstractContextManager[object]:
        """The frame of a step's way forth."""
        return remaking() if self._found and self._is_on else contextlib.nullcontext()

    @contextlib.contextmanager
    def left_alone(self) -> Iterator[None]:
        """The modules compute as PyTorch has them inside the block, for comparison. A step must be in it as a
        whole."""
        self._is_on = False
        try:
            yield
        finally:
            self._is_on = True

    def _change(self, module: Any, is_half: bool) -> None:
        for kind, make in FORWARDS.items():
            # Also of a layer held in few bits, whose class is one of its own.
            if isinstance(module, kind) and type(module).forward is kind.forward:
                self._replace(module, make(module))
        if is_half and isinstance(module, LoraLayer):
            # The way there and back by 32 bit changes nothing, and would be a copy to keep.
            module.cast_input_dtype_enabled = False
            for down in module.lora_A.values():
                self._replace(down, _cast_first(down))

    def _replace(self, module: Any, frugal: Forward) -> None:
        plain = module.forward

        def forward(inputs: torch.Tensor) -> torch.Tensor:
            is_plain = not (self._is_on and torch.is_grad_enabled()) or torch.compiler.is_compiling()
            answer: torch.Tensor = plain(inputs) if is_plain else frugal(inputs)
            return answer

        module.forward = forward


def _convolution(module: nn.Conv2d) -> Forward:
    plain = module.forward

    def forward(inputs: torch.Tensor) -> torch.Tensor:
        weight, bias = module.weight, module.bias
        is_frozen = not (weight.requires_grad or (bias is not None and bias.requires_grad))
        is_simple = module.padding_mode == "zeros" and not isinstance(module.padding, str)
        if not (is_frozen and is_simple and inputs.requires_grad and is_large(inputs)):
            answer: torch.Tensor = plain(inputs)
            return answer
        kind = inputs.device.type
        if torch.is_autocast_enabled(kind):
            dtype = torch.get_autocast_dtype(kind)
            inputs, weight = inputs.to(dtype), weight.to(dtype)
            bias = None if bias is None else bias.to(dtype)
        how = module.stride, module.padding, module.dilation, module.groups
        found: torch.Tensor = FrozenConvolution.apply(inputs, weight, bias, how)
        return found

    return forward


def _group_norm(module: nn.GroupNorm) -> Forward:
    def forward(inputs: torch.Tensor) -> torch.Tensor:
        weight, bias = module.weight, module.bias  # those of now: a swapped block has others later

        def norm(values: torch.Tensor) -> torch.Tensor:
            return functional.group_norm(values, module.num_groups, weight, bias, module.eps)

        return mark(norm(inputs), norm, inputs)

    return forward


def _layer_norm(module: nn.LayerNorm) -> Forward:
    def forward(inputs: torch.Tensor) -> torch.Tensor:
        weight, bias = module.weight, module.bias

        def norm(values: torch.Tensor) -> torch.Tensor:
            return functional.layer_norm(values, module.normalized_shape, weight, bias, module.eps)

        return mark(norm(inputs), norm, inputs)

    return forward


def _activation(module: Any) -> Forward:
    """An activation without weights that keeps its input alone."""
    plain = module.forward

    def forward(inputs: torch.Tensor) -> torch.Tensor:
        return mark(plain(inputs), plain, inputs)

    return forward


def _recomputed(module: Any) -> Forward:
    """An activation of several operations."""
    plain = module.forward

    def forward(inputs: torch.Tensor) -> torch.Tensor:
        if not (inputs.requires_grad and is_large(inputs)):
            answer: torch.Tensor = plain(inputs)
            return answer
        found: torch.Tensor = RecomputedActivation.apply(plain, inputs)
        return mark(found, plain, inputs)

    return forward


def _projected(module: GELU) -> Forward:
    def forward(inputs: torch.Tensor) -> torch.Tensor:
        values = module.proj(inputs)
        return mark(module.gelu(values), module.gelu, values)

    return forward


def _gated(module: GEGLU) -> Forward:
    def forward(inputs: torch.Tensor) -> torch.Tensor:
        values, gate = module.proj(inputs).chunk(2, dim=-1)
        share = mark(module.gelu(gate), module.gelu, gate)
        return mark(values * share, torch.mul, values, share)

    return forward


def _cast_first(down: Any) -> Forward:
    """The first layer of a LoRA, of which autocast would make and keep an input in half precision."""
    plain = down.forward

    def forward(inputs: torch.Tensor) -> torch.Tensor:
        kind = inputs.device.type
        dtype = torch.get_autocast_dtype(kind)
        if torch.is_autocast_enabled(kind) and inputs.dtype != dtype and recipe_of(inputs) is not None:
            inputs = mark(inputs.to(dtype), lambda values: values.to(dtype), inputs)
        answer: torch.Tensor = plain(inputs)
        return answer

    return forward


FORWARDS: Mapping[type[nn.Module], Callable[[Any], Forward]] = {
    nn.Conv2d: _convolution,
    nn.GroupNorm: _group_norm,
    nn.LayerNorm: _layer_norm,
    nn.SiLU: _activation,
    GELUActivation: _activation,
    QuickGELUActivation: _recomputed,
    GELU: _projected,
    GEGLU: _gated,
}
