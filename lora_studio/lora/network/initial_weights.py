"""First weights of a network: another one's weights, or a base that others were merged into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from lora_studio.errors import ConfigError, FamilyMismatch
from lora_studio.lora.file.contents import say_left_out
from lora_studio.lora.file.keys import BIAS, DORA, OFT, names_in_files
from lora_studio.lora.network import kinds
from lora_studio.lora.network.attach import AttachedLora
from lora_studio.lora.network.layer_fit import fit_to
from lora_studio.lora.network.layers import Change, change_from
from lora_studio.lora.network.output_rows import fused_layers_of, join_rows, named_layers, shape_of, store
from lora_studio.lora.network.ranks import Layer, Size
from lora_studio.lora.network.weights import LayerWeights, read_contents, read_weights

FITTING = "Take a file that was made for this base model."


def sizes_from(path: str, layers: Sequence[Layer], models: Mapping[str, Any]) -> dict[str, Size]:
    """Rank and alpha of each layer that the file has, by our name; `models` go by part. Raises
    FamilyMismatch, BrokenFile, UnknownFormat."""
    modules = {layer.name: models[layer.part].get_submodule(layer.module) for layer in layers}
    places = [(layer.part, layer.module, layer.name, modules[layer.name].weight.shape) for layer in layers]
    file = join_rows(read_weights(path), places)
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
    """Start with the weights of a file, scaled where its alpha differs from ours. Layers that the file lacks
    stay new. Returns the names of its layers that this network doesn't have. Raises ConfigError,
    FamilyMismatch, BrokenFile, UnknownFormat."""
    places = [
        (part, lora.modules[name], name, _base_of(lora.layers[name]).weight.shape)
        for part, names in lora.parts.items()
        for name in names
    ]
    file = join_rows(read_weights(path), places)
    ours = {
        spelling: name
        for part, names in lora.parts.items()
        for name in names
        for spelling in names_in_files(part, lora.modules[name], name)
    }
    if not any(name in ours for name in file):
        raise _no_fit(path)
    left = [name for name, theirs in file.items() if name not in ours or _is_beside(theirs, lora)]
    for name, theirs in file.items():
        if name not in left:
            _take_over(Path(path).name, lora, ours[name], theirs)
    return left


@torch.no_grad()
def merge_into_base(models: Mapping[str, Any], layers: Sequence[Layer], path: str, strength: float) -> str:
    """Add a LoRA file to the base's weights, as Kohya's base_weights does: in 32 bit, then in the weight's
    own format. Returns a sentence on parts of the file without a place, empty where all have one. Raises
    FamilyMismatch, BrokenFile, UnknownFormat."""
    modules = {
        spelling: found
        for layer in layers
        for spelling, found in named_layers(
            layer.part, layer.module, layer.name, models[layer.part].get_submodule(layer.module)
        )
    }
    modules |= fused_layers_of(modules)
    contents, _ = read_contents(path)
    fit = fit_to(contents, modules)
    if not fit.belongs:
        raise _no_fit(path)
    for name, theirs in read_weights(path, fit.layers).items():
        base = modules[name]
        change = change_from(base, theirs, strength)
        if theirs.kind == kinds.LORA and DORA not in theirs.parts:
            parts = {part: weight.float() for part, weight in change.weights.items()}
            made = kinds.change(kinds.LORA, parts, shape_of(base))
            # to the bit as Kohya does it
            added = strength * made * kinds.scale_of(theirs.parts, theirs.alpha)
        else:
            added = change.delta()
        merged = (base.weight.float() + added).to(base.weight.dtype)
        store(base, "weight", merged)
        if BIAS in change.weights and base.bias is not None:
            moved = base.bias.float() + strength * change.weights[BIAS].float()
            store(base, "bias", moved.to(base.bias.dtype))
    remark = say_left_out((*contents.left_out, *fit.left_out), contents.values)
    return f"{Path(path).name}: {remark}" if remark else ""


def _take_over(file: str, lora: AttachedLora, name: str, theirs: LayerWeights) -> None:
    ours = lora.weights(name)
    if theirs.kind != lora.shape.kind or (DORA in theirs.parts) != lora.shape.dora_wd:
        kind = f"{theirs.kind}{' with dora_wd' if DORA in theirs.parts else ''}"
        raise ConfigError(
            f"{file} is of another kind ({kind}) than this training.",
            "Set algo and dora_wd as the file has them.",
            field="network_weights",
        )
    parts = _as_ours(theirs, ours)
    if {part: tuple(tensor.shape) for part, tensor in parts.items()} != {
        part: tuple(weight.shape) for part, weight in ours.items()
    }:
        raise ConfigError(
            f"{file} has another rank than this training (in {name}: {theirs.dim or 'full'}).",
            "Switch dim_from_weights on, or set network_dim and conv_dim as the file has them.",
            field="network_weights",
        )
    for part, tensor in parts.items():
        ours[part].copy_(tensor)
    if theirs.kind != kinds.DIAG_OFT and theirs.dim:
        wanted = 1.0 if theirs.alpha is None else (theirs.alpha or theirs.dim) / theirs.dim
        ratio = wanted / (lora.alpha_of(name) / theirs.dim)
        ours[kinds.factors(theirs.kind, ours)[-1]].mul_(ratio)


def _base_of(layer: Any) -> Any:
    """The base's own layer under PEFT's or ours."""
    return layer.base if isinstance(layer, Change) else layer.base_layer


def _is_beside(theirs: LayerWeights, lora: AttachedLora) -> bool:
    """Whether a layer is a plain difference, which files of networks have for single layers."""
    return theirs.kind == kinds.FULL != lora.shape.kind


def _as_ours(theirs: LayerWeights, ours: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
    """A file's tensors in the dimensions of ours, where both write the same numbers."""
    return {
        part: tensor.reshape(ours[part].shape)
        if part in ours and tensor.squeeze().shape == ours[part].squeeze().shape
        else tensor
        for part, tensor in theirs.parts.items()
        if part != BIAS
    }


def _side(layer: LayerWeights) -> int:
    """The number in the rank's place: OFT's block size, the larger side of LoKr's full matrix."""
    parts = layer.parts
    if layer.kind == kinds.LOKR:
        return max(parts["lokr_w2"].shape[:2])
    return int(parts[OFT].shape[1]) if layer.kind == kinds.DIAG_OFT and OFT in parts else 1


def _no_fit(path: str) -> FamilyMismatch:
    return FamilyMismatch(
        f"{Path(path).name} doesn't fit this base model: its layers have other names or sizes.",
        FITTING,
        path=Path(path),
    )
