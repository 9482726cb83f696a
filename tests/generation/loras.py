"""LoRA files as Kohya's trainer writes them, with random weights, made from the shapes of a base's own
files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

from lora_studio.lora.files import read_tensor_table

UNET_LAYER = re.compile(
    r"(.*attentions\.\d+\..*(?:to_[qkv]|to_out\.0|net\.0\.proj|net\.2|proj_in|proj_out))\.weight"
)
TEXT_LAYER = re.compile(r"(?:text_model\.)?(.*(?:[qkv]_proj|out_proj|fc[12]))\.weight")


def write_lora(
    path: Path,
    base: Path,
    *,
    seed: int = 1,
    rank: int = 2,
    alpha: float | Callable[[str], float] = 2.0,
    text_encoder: bool = True,
    strength: float = 0.3,
    metadata: Mapping[str, str] | None = None,
    only: str = "",
) -> Path:
    """`only` is a regular expression that layer names must contain; `alpha` may depend on the layer's
    name."""
    random = torch.Generator().manual_seed(seed)
    tensors: dict[str, torch.Tensor] = {}
    for name, shape in kohya_layers(base, text_encoder=text_encoder):
        if not re.search(only, name):
            continue
        kernel = shape[2:]
        tensors[f"{name}.lora_down.weight"] = strength * torch.randn(
            rank, shape[1], *kernel, generator=random
        )
        tensors[f"{name}.lora_up.weight"] = strength * torch.randn(shape[0], rank, *kernel, generator=random)
        tensors[f"{name}.alpha"] = torch.tensor(float(alpha(name) if callable(alpha) else alpha))
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata={"ss_base_model_version": "sd_v1", **(metadata or {})})
    return path


def kohya_layers(base: Path, *, text_encoder: bool = True) -> Iterator[tuple[str, tuple[int, ...]]]:
    """(Kohya's name, shape of the weight) of each layer that its trainer takes by default."""
    parts = [("lora_unet_", UNET_LAYER, base / "unet" / "diffusion_pytorch_model.safetensors")]
    if text_encoder:
        parts.append(("lora_te_text_model_", TEXT_LAYER, base / "text_encoder" / "model.safetensors"))
    for prefix, pattern, file in parts:
        for key, (_, shape) in sorted(read_tensor_table(file)[1].items()):
            if match := pattern.fullmatch(key):
                yield prefix + match[1].replace(".", "_"), shape
