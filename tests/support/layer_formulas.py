"""One layer of a base model with a LoRA file on it, against a formula written apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch.nn import functional

from lora_studio.generation.lora_lookup import WantedLora
from lora_studio.generation.lora_stack import LoraStack
from lora_studio.lora.file.lora_files import read_header

Tensors = dict[str, torch.Tensor]


Formula = Callable[[torch.Tensor], torch.Tensor]
"""From the base's weight to what is added to it."""


LINEAR = "up_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"


PROJ = "up_blocks.1.attentions.0.proj_in"


CONV = "up_blocks.1.resnets.0.conv1"


NORM = "up_blocks.1.attentions.0.norm"


LAYER_NORM = "up_blocks.1.attentions.0.transformer_blocks.0.norm2"


UPSAMPLER = "up_blocks.0.upsamplers.0.conv"


def some(*sides: int, seed: int = 0) -> torch.Tensor:
    return 0.3 * torch.randn(*sides, generator=torch.Generator().manual_seed(seed + 7 * sum(sides)))


def put_on(pipe: Any, file: Path, weight: float = 1.0) -> tuple[LoraStack, list[str]]:
    stack = LoraStack(pipe.components, "tiny")
    return stack, stack.apply([WantedLora(slug="x", weight=weight, header=read_header(file))])


def assert_adds(module: Any, wanted: torch.Tensor, bias: torch.Tensor | None = None) -> None:
    """The module with its hooks adds what the weight `wanted` and the bias give."""
    weight = module.weight
    if isinstance(module, torch.nn.Conv2d):
        inputs = some(2, weight.shape[1], 6, 6)
        added = functional.conv2d(inputs, wanted, bias, module.stride, module.padding)
    elif isinstance(module, torch.nn.GroupNorm):
        inputs = some(2, weight.shape[0], 6, 6)
        added = functional.group_norm(inputs, module.num_groups, wanted, bias, module.eps)
    elif isinstance(module, torch.nn.LayerNorm):
        inputs = some(2, 5, weight.shape[0])
        added = functional.layer_norm(inputs, module.normalized_shape, wanted, bias, module.eps)
    else:
        inputs = some(2, 5, weight.shape[1])
        added = functional.linear(inputs, wanted, bias)
    with torch.no_grad():
        torch.testing.assert_close(module(inputs) - module.forward(inputs), added, rtol=1e-4, atol=2e-5)
    assert added.abs().max() > 1e-3


def check(pipe: Any, folder: Path, module: str, tensors: Tensors, formula: Formula, **words: Any) -> None:
    """One layer's file of the denoiser, at full and at half weight, with nothing left out."""
    layer = pipe.unet.get_submodule(module)
    save_file(tensors, folder / "x.safetensors", words.get("metadata"))
    for weight in (1.0, 0.5):
        stack, said = put_on(pipe, folder / "x.safetensors", weight)
        assert said == []
        bias = words.get("bias")
        wanted = weight * formula(layer.weight.detach())
        assert_adds(layer, wanted.reshape(layer.weight.shape), None if bias is None else weight * bias)
        stack.apply([])


def kohya(module: str) -> str:
    return f"lora_unet_{module.replace('.', '_')}"


def shape_of(pipe: Any, module: str) -> tuple[int, ...]:
    return tuple(pipe.unet.get_submodule(module).weight.shape)


def product(up: torch.Tensor, down: torch.Tensor, scale: float = 1.0) -> Formula:
    return lambda weight: scale * (up.flatten(1) @ down.flatten(1)).reshape(weight.shape)
