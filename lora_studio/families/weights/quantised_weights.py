"""A denoiser held in 8 or 4 bits, and computed with as before.

Each weight is kept as float8, int8 or NormalFloat 4 and made anew for each use. Plain torch on any device:
gradients go through it as through the weight itself. What is small and matters most, the first and last layer
and what tells the time step, stays as it is. Errors, the roots of mean squares by those of the weights, are
2.6 % in float8, 0.9 % in int8 and 9 % in NormalFloat 4.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.utils import parametrize

from lora_studio.families.weights.block_swap import keep_in_host_memory, lies_in_host_memory
from lora_studio.families.weights.loading import place_model
from lora_studio.families.weights.mmap_weights import MappedFiles
from lora_studio.lora.network.quantisation import (
    BLOCK,
    SCALES,
    NormalFloat4,
    from_nf4,
    to_float8,
    to_int8,
    to_nf4,
)

EXACT = (
    *("conv_in", "conv_out", "time_embedding", "time_emb_proj", "add_embedding"),
    *("all_x_embedder", "all_final_layer", "cap_embedder", "t_embedder", "adaLN_modulation"),
    *("patch_embed", "time_embed", "norm_out"),
    *(f"norm{place}.linear_{half}" for place in (1, 2, 3) for half in (1, 2)),
    *("x_embedder", "context_embedder", "time_text_embed", "distilled_guidance_layer"),
    *("time_guidance_embed", "double_stream_modulation_img", "double_stream_modulation_txt"),
    "single_stream_modulation",
)
"""Names of modules, or of paths in them, wherever they stand. What tells FLUX.1's blocks the time step is a
quarter of its weights (`norm1`, `norm1_context`, `norm`), and is held like the rest."""
LAST = "proj_out"
"""The name of some denoisers' last layer, and of others' inner ones."""


class _Scaled(torch.nn.Module):
    """A weight computed as its 8 bits times the scales of its output channels, [o, 1, ...]."""

    bits = 8
    scale: torch.Tensor
    keeps_formats = True
    """A mark for `place_model`: the formats of these buffers stay as they are."""

    def __init__(self, scale: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale)
        self.dtype = scale.dtype

    def forward(self, eight_bits: torch.Tensor) -> torch.Tensor:
        return eight_bits.to(self.dtype) * self.scale


class _FromCodes(torch.nn.Module):
    """A weight of `shape` computed from its codes in NormalFloat 4 and their scales."""

    bits = 4
    scales: torch.Tensor
    steps: torch.Tensor
    mean: torch.Tensor
    keeps_formats = True

    def __init__(self, held: NormalFloat4, shape: torch.Size, dtype: torch.dtype) -> None:
        super().__init__()
        for name in ("scales", "steps", "mean"):
            self.register_buffer(name, getattr(held, name))
        self.shape, self.dtype = shape, dtype

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        held = NormalFloat4(codes=codes, scales=self.scales, steps=self.steps, mean=self.mean)
        return from_nf4(held, self.shape).to(self.dtype)


def _hold_float8(values: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.nn.Module]:
    rounded, scale = to_float8(values)
    return rounded, _Scaled(scale.to(dtype))


def _hold_int8(values: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.nn.Module]:
    rounded, step = to_int8(values)
    return rounded, _Scaled(step.to(dtype))


def _hold_nf4(values: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.nn.Module]:
    held = to_nf4(values)
    return held.codes, _FromCodes(held, values.shape, dtype)


def _bytes_in_8(shape: torch.Size, dtype: torch.dtype) -> int:
    return shape.numel() + shape[0] * dtype.itemsize


def _bytes_in_4(shape: torch.Size, _: torch.dtype) -> int:
    """A byte for two codes, one for each block's scale, four for each step and for the mean."""
    blocks = math.ceil(shape.numel() / BLOCK)
    return blocks * (BLOCK // 2 + 1) + 4 * math.ceil(blocks / SCALES) + 4


@dataclass(frozen=True)
class _Format:
    """`hold` takes a weight in 32 bit and the format to compute in, and gives its bits and the module that
    makes it anew of them; `nbytes` counts both for a shape."""

    bits: int
    hold: Callable[[torch.Tensor, torch.dtype], tuple[torch.Tensor, torch.nn.Module]]
    nbytes: Callable[[torch.Size, torch.dtype], int]


FORMATS: Mapping[str, _Format] = {
    "qfloat8": _Format(8, _hold_float8, _bytes_in_8),
    "qint8": _Format(8, _hold_int8, _bytes_in_8),
    "nf4": _Format(4, _hold_nf4, _bytes_in_4),
}


@torch.no_grad()
def quantise_weights(model: Any, qtype: str = "qfloat8", device: str = "") -> int:
    """Hold the frozen linear layers and convolutions in one of FORMATS; returns the bytes that this saves.
    Those that are held in as few bits already stay as they are; those in more are rounded once more. Each
    goes to `device` for that (empty: stays where it is) and remains there unless its block is swapped: a
    base that fits in few bits only never is there in 16. With gradients on, each weight made anew is kept
    until the way back, so it takes gradient checkpointing to save much."""
    files, saved = MappedFiles(), 0
    for module in list(_frozen_layers(model, FORMATS[qtype].bits)):
        size, before = held_bytes(module), module.weight.data
        waits = lies_in_host_memory(module)
        values = before.to(device or before.device).float()
        home = "cpu" if waits else values.device
        bits, held = FORMATS[qtype].hold(values, before.dtype)
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=False)
        module.weight = torch.nn.Parameter(bits.to(home), requires_grad=False)
        parametrize.register_parametrization(module, "weight", held.to(home), unsafe=True)
        if waits:
            keep_in_host_memory(module)
        saved += size - held_bytes(module)
        files.give_back(before)
    return saved


def place_held(model: Any, device: str, dtype: torch.dtype, qtype: str, *, read_ahead: bool = True) -> None:
    """Move a model as `place_model` does, its frozen heavy layers in one of FORMATS; empty: in none."""
    if qtype:
        place_model(model, "cpu", dtype, read_ahead=False)
        quantise_weights(model, qtype, device)
    place_model(model, device, dtype, read_ahead=read_ahead)


def savings_of(model: Any, qtype: str, *, is_part: bool = False) -> int:
    """The bytes that `quantise_weights` would save, counted; `is_part`: of a block of the model."""
    wanted = FORMATS[qtype]
    layers = _frozen_layers(model, wanted.bits, "" if is_part else LAST)
    return sum(held_bytes(module) - wanted.nbytes(*_shape_of(module)) for module in layers)


def held_bytes(module: Any) -> int:
    """Bytes of a layer's weight as it is held."""
    if not parametrize.is_parametrized(module, "weight"):
        return int(module.weight.nbytes)
    held = module.parametrizations.weight
    return sum(tensor.nbytes for tensor in (*held.parameters(), *held.buffers()))


def is_exact(path: str) -> bool:
    """Whether a module's weight stays as it is."""
    return any(f".{name}." in f".{path}." for name in EXACT)


def _frozen_layers(model: Any, bits: int, last: str = LAST) -> Iterator[Any]:
    """The layers that may be held in so few bits, and are not."""
    for path, module in model.named_modules():
        if not isinstance(module, torch.nn.Linear | torch.nn.Conv2d) or path == last:
            continue
        if is_exact(path):
            continue
        if parametrize.is_parametrized(module):
            held: Any = module.parametrizations
            held = held.weight[0]
            if isinstance(held, _Scaled | _FromCodes) and held.bits > bits:
                yield module
        elif not module.weight.requires_grad:
            yield module


def _shape_of(module: Any) -> tuple[torch.Size, torch.dtype]:
    """Shape and format of a layer's weight, which is not made anew for that."""
    if not parametrize.is_parametrized(module, "weight"):
        return module.weight.shape, module.weight.dtype
    held = module.parametrizations.weight
    return held.original.shape, held[0].dtype
