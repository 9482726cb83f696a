"""A denoiser held in 8 bits: half the memory of 16, a quarter of 32, and computed with as before.

Each weight is kept as float8 (e4m3: four bits of exponent, three of mantissa; Micikevicius et al. 2022) or
as int8 (whole numbers -127 to 127; Dettmers et al. 2022) with a scale for each output channel, and is made
anew for each use. Plain torch on any device: gradients go through it as through the weight itself. What is
small and matters most, the first and last layer and what tells the time step, stays as it is. Errors, the
roots of mean squares by those of the weights, are 2.6 % in float8 and 0.9 % in int8.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.nn.utils import parametrize

from lora_studio.families.weights.block_swap import keep_in_host_memory, lies_in_host_memory
from lora_studio.families.weights.mmap_weights import MappedFiles

FORMATS = {"qfloat8": torch.float8_e4m3fn, "qint8": torch.int8}
LARGEST = {"qfloat8": torch.finfo(torch.float8_e4m3fn).max, "qint8": 127.0}
"""int8 could hold -128 too; the same range on both sides needs no zero point."""
EXACT = (
    *("conv_in", "conv_out", "time_embedding", "time_emb_proj", "add_embedding"),
    *("all_x_embedder", "all_final_layer", "cap_embedder", "t_embedder", "adaLN_modulation"),
    *("patch_embed", "time_embed", "norm1", "norm2", "norm3", "norm_out"),
    *("x_embedder", "context_embedder", "time_text_embed", "distilled_guidance_layer"),
    *("time_guidance_embed", "double_stream_modulation_img", "double_stream_modulation_txt"),
    "single_stream_modulation",
)
"""Names of modules, wherever they stand."""
LAST = "proj_out"
"""The name of some denoisers' last layer, and of others' inner ones."""


class _Scaled(torch.nn.Module):
    """A weight computed as its 8 bits times the scales of its output channels, [o, 1, ...]."""

    scale: torch.Tensor
    keeps_formats = True
    """A mark for `place_model`: the format of the scale is that of the weight."""

    def __init__(self, scale: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale)
        self.dtype = scale.dtype

    def forward(self, eight_bits: torch.Tensor) -> torch.Tensor:
        return eight_bits.to(self.dtype) * self.scale


@torch.no_grad()
def hold_in_eight_bits(model: Any, qtype: str = "qfloat8", device: str = "") -> int:
    """Convert the frozen linear layers and convolutions to one of FORMATS; returns the bytes that this saves.
    Each goes to `device` for that (empty: stays where it is) and remains there unless its block is swapped:
    a base that fits in 8 bits only never is there in 16. With gradients on, each weight made anew is kept
    until the way back, so it takes gradient checkpointing to save much."""
    files, saved = MappedFiles(), 0
    for module in list(_frozen_layers(model)):
        before = module.weight.data
        values = before.to(device or before.device).float()
        largest = values.abs().flatten(1).amax(1).clamp_min(1e-12)
        scale = (largest / LARGEST[qtype]).view(-1, *[1] * (before.dim() - 1))
        scaled = values / scale
        waits = lies_in_host_memory(module)
        home = "cpu" if waits else values.device
        eight_bits = (scaled.round() if qtype == "qint8" else scaled).to(FORMATS[qtype]).to(home)
        saved += before.nbytes - eight_bits.nbytes - scale.nbytes
        module.weight = torch.nn.Parameter(eight_bits, requires_grad=False)
        held = _Scaled(scale.to(home, before.dtype))
        parametrize.register_parametrization(module, "weight", held, unsafe=True)
        if waits:
            keep_in_host_memory(module)
        files.give_back(before)
    return saved


def _frozen_layers(model: Any) -> Iterator[Any]:
    for path, module in model.named_modules():
        if not isinstance(module, torch.nn.Linear | torch.nn.Conv2d) or module.weight.requires_grad:
            continue
        if parametrize.is_parametrized(module) or path == LAST:
            continue
        if any(name in path.split(".") for name in EXACT):
            continue
        yield module
