"""The kinds of LoRA, inputs for their layers, and weights as after some training."""

from __future__ import annotations

import torch

from lora_studio.lora.network.attach import AttachedLora
from lora_studio.lora.network.layers import Shape

KINDS = {
    "dora": Shape(dora_wd=True),
    "dora-out": Shape(dora_wd=True, wd_on_output=True),
    "loha": Shape(kind="loha"),
    "loha-dora": Shape(kind="loha", dora_wd=True),
    "lokr": Shape(kind="lokr"),
    "lokr-4": Shape(kind="lokr", factor=4, decompose_both=True),
    "lokr-full": Shape(kind="lokr", full_matrix=True),
    "lokr-dora": Shape(kind="lokr", dora_wd=True),
    "diag-oft": Shape(kind="diag-oft"),
    "diag-oft-bound": Shape(kind="diag-oft", constraint=0.01),
}


def stirred(lora: AttachedLora) -> AttachedLora:
    """As after some training: every tensor is something else."""
    generator = torch.Generator().manual_seed(5)
    for name in lora.layers:
        for weight in lora.weights(name).values():
            weight.data += 0.1 * torch.randn(weight.shape, generator=generator)
    return lora


def inputs(module: str) -> torch.Tensor:
    generator = torch.Generator().manual_seed(9)
    return torch.randn(*((3, 5, 40) if module == "linear" else (3, 12, 9, 7)), generator=generator)
