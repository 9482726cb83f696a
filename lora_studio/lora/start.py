"""What a network starts from: another one's weights, or a base that others were merged into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from lora_studio.errors import ConfigError, FamilyMismatch
from lora_studio.lora import kinds
from lora_studio.lora.attach import AttachedLora
from lora_studio.lora.keys import DORA, names_in_files
from lora_studio.lora.layers import Change
from lora_studio.lora.plan import Layer, Size
from lora_studio.lora.weights import LayerWeights, read_weights

FITTING = "Take a file that was made for this base model."


def sizes_from(path: str, layers: Sequence[Layer]) -> dict[str, Size]:
    """Rank and alpha of each layer that the file has, by our name. Raises FamilyMismatch, BrokenFile,
    UnknownFormat."""
    file = read_weights(path)
    sizes = {}
    for layer in layers:
        names = names_in_files(layer.part, layer.module, layer.name)
        found = next((file[name] for name in names if name in file), None)
        if found is not None:
            dim = found.dim or _side(found)
            sizes[layer.name] = Size(dim=dim, alpha=found.alpha or float(dim))
    if not sizes:
        raise _no_fit(path)
    return sizes


@torch.no_grad()
def continue_from(path: str, lora: AttachedLora) -> list[str]:
    """Start with what the file does: its tensors are taken over, and scaled where its alpha differs from
    ours. Layers that it lacks stay new. Returns the names of its layers that this network doesn't have.
    Raises ConfigError, FamilyMismatch, BrokenFile, UnknownFormat."""
    file = read_weights(path)
    ours = {
        spelling: name
        for part, names in lora.parts.items()
        for name in names
        for spelling in names_in_files(part, lora.modules[name], name)
    }
    if not any(name in ours for name in file):
        raise _no_fit(path)
    for name, theirs in file.items():
        if name in ours:
            _take_over(Path(path).name, lora, ours[name], theirs)
    return [name for name in file if name not in ours]


@torch.no_grad()
def merge_into_base(models: Mapping[str, Any], layers: Sequence[Layer], path: str, strength: float) -> None:
    """Add a LoRA file to the base's weights, as Kohya's base_weights does: in 32 bit, then in the weight's
    own format. Raises FamilyMismatch, BrokenFile, UnknownFormat."""
    modules = {
        spelling: models[layer.part].get_submodule(layer.module)
        for layer in layers
        for spelling in names_in_files(layer.part, layer.module, layer.name)
    }
    file = read_weights(path)
    if not all(name in modules for name in file):
        raise _no_fit(path)
    for name, theirs in file.items():
        base = modules[name]
        if not kinds.fits(theirs.kind, theirs.shapes, base.weight.shape):
            raise _no_fit(path)
        if theirs.kind == kinds.LORA and DORA not in theirs.parts:
            made = kinds.change(
                kinds.LORA, {k: v.float() for k, v in theirs.parts.items()}, base.weight.shape
            )
            added = (
                strength * made * kinds.scale_of(theirs.parts, theirs.alpha)
            )  # to the bit as Kohya does it
        else:
            added = change_from(base, theirs, strength).delta()
        base.weight.data = (base.weight.float() + added).to(base.weight.dtype)


def change_from(base: torch.nn.Module, layer: LayerWeights, strength: float = 1.0) -> Change:
    """The change that a file makes to a layer of the base."""
    weights = {part: torch.nn.Parameter(tensor, requires_grad=False) for part, tensor in layer.parts.items()}
    return Change(kind=layer.kind, base=base, weights=weights, alpha=layer.alpha, strength=strength)


def _take_over(file: str, lora: AttachedLora, name: str, theirs: LayerWeights) -> None:
    ours = lora.weights(name)
    if theirs.kind != lora.shape.kind or (DORA in theirs.parts) != lora.shape.dora_wd:
        kind = f"{theirs.kind}{' with dora_wd' if DORA in theirs.parts else ''}"
        raise ConfigError(
            f"{file} is of another kind ({kind}) than this training.",
            "Set algo and dora_wd as the file has them.",
            field="network_weights",
        )
    if {part: tuple(tensor.shape) for part, tensor in theirs.parts.items()} != {
        part: tuple(weight.shape) for part, weight in ours.items()
    }:
        raise ConfigError(
            f"{file} has another rank than this training (in {name}: {theirs.dim or 'full'}).",
            "Switch dim_from_weights on, or set network_dim and conv_dim as the file has them.",
            field="network_weights",
        )
    for part, tensor in theirs.parts.items():
        ours[part].copy_(tensor)
    if theirs.kind != kinds.DIAG_OFT and theirs.dim:
        wanted = 1.0 if theirs.alpha is None else (theirs.alpha or theirs.dim) / theirs.dim
        ratio = wanted / (lora.alpha_of(name) / theirs.dim)
        ours[kinds.factors(theirs.kind, ours)[-1]].mul_(ratio)


def _side(layer: LayerWeights) -> int:
    """What stands for the rank where there is none: OFT's block size, the larger side of LoKr's full
    matrix."""
    parts = layer.parts
    return (
        int(parts["oft_blocks"].shape[1]) if layer.kind == kinds.DIAG_OFT else max(parts["lokr_w2"].shape[:2])
    )


def _no_fit(path: str) -> FamilyMismatch:
    return FamilyMismatch(
        f"{Path(path).name} doesn't fit this base model: its layers have other names or sizes.",
        FITTING,
        path=Path(path),
    )
