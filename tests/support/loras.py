"""LoRA files as Kohya's trainer writes them, with random weights for the shapes of a base's own files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from lora_studio.lora.file.lora_files import read_tensor_table

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
    """`only` is a regular expression that layer names must contain; `alpha` may depend on a name."""
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


def write_kind(path: Path, pipe: Any, kind: str) -> Path:
    """A file of another kind (loha, diag-oft, dora) for one layer in the middle of the denoiser."""
    name = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    weight = pipe.unet.mid_block.attentions[0].transformer_blocks[0].attn1.to_q.weight
    random = torch.Generator().manual_seed(len(kind))

    def some(*sides: int) -> torch.Tensor:
        return 0.3 * torch.randn(*sides, generator=random)

    parts = {
        "loha": {f"hada_w{n}_{ab}": some(*((16, 2) if ab == "a" else (2, 16))) for n in "12" for ab in "ab"},
        "diag-oft": {"oft_blocks": some(4, 4, 4)},
        "dora": {
            "lora_down.weight": some(2, 16),
            "lora_up.weight": some(16, 2),
            "dora_scale": weight.detach().norm(dim=0, keepdim=True) + some(1, 16),
        },
    }[kind]
    alpha = {"alpha": torch.tensor(0.0 if kind == "diag-oft" else 2.0)}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({f"{name}.{part}": tensor for part, tensor in {**parts, **alpha}.items()}, path)
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
