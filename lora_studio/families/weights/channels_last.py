"""The memory layout of weights on a CPU.

With channels last, the convolutions of an autoencoder take a third less time there (36 % for SD 1.5's encoder
at 256 px on two cores; its denoiser gained nothing). A weight in another layout is a copy.
"""

from __future__ import annotations

from typing import Any

import torch

from lora_studio.families.weights.mmap_weights import MappedFiles

Originals = list[tuple[torch.nn.Parameter, torch.Tensor]]
"""Weights, and what they were before."""


@torch.no_grad()
def to_channels_last(model: Any) -> Originals:
    """Give convolutions on the CPU the quicker layout; pages of files are given back once they are copied.
    Returns what was changed, nothing the second time."""
    files = MappedFiles()
    changed: Originals = []
    for weight in model.parameters():
        before = weight.data
        if before.device.type != "cpu" or before.dim() != 4:
            continue
        if before.is_contiguous(memory_format=torch.channels_last):
            continue
        weight.data = before.contiguous(memory_format=torch.channels_last)
        files.give_back(before)
        changed.append((weight, before))
    return changed


def restore(originals: Originals) -> None:
    """The way back: the copies' memory is free again."""
    while originals:
        weight, before = originals.pop()
        weight.data = before
