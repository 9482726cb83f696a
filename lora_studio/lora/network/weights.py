"""The tensors of a LoRA file, layer by layer, whatever spelling it has."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from lora_studio.errors import BrokenFile, UnknownFormat
from lora_studio.files import expanded
from lora_studio.lora.file.alphas import Scaling, alpha_of, scalings
from lora_studio.lora.file.contents import NETWORKS, Contents, FileLayer, contents_of, shown
from lora_studio.lora.file.keys import ALPHA, BIAS, DORA, UP_BIAS
from lora_studio.lora.file.lora_files import read_tensor_table
from lora_studio.lora.network import kinds


@dataclass(frozen=True, kw_only=True)
class LayerWeights:
    """One layer of a file: its kind, its tensors by part, and alpha (None: no scaling)."""

    kind: str
    parts: Mapping[str, torch.Tensor]
    alpha: float | None

    @property
    def dim(self) -> int:
        """The rank; 0 where the layer has none."""
        return kinds.rank_of(self.shapes)

    @property
    def shapes(self) -> dict[str, torch.Size]:
        return {name: tensor.shape for name, tensor in self.parts.items()}


def read_contents(path: Path | str) -> tuple[Contents, Mapping[str, Scaling]]:
    """The contents of a file, and the alphas in its metadata. Raises BrokenFile, UnknownFormat."""
    path = expanded(path)
    metadata, table, _ = read_tensor_table(path)
    contents = contents_of(table)
    if not contents.layers:
        raise UnknownFormat(f"{path.name} has no layer that can be used.", NETWORKS, path=path)
    return contents, scalings(metadata, path)


def read_weights(path: Path | str, only: Collection[str] | None = None) -> dict[str, LayerWeights]:
    """The usable layers of a file (with `only` those of these names) by Kohya's name, in the file's order.
    Raises BrokenFile, UnknownFormat."""
    path = expanded(path)
    contents, scaling = read_contents(path)
    found: dict[str, LayerWeights] = {}
    try:
        with safe_open(str(path), framework="pt") as file:
            for name, layer in contents.layers.items():
                if only is None or name in only:
                    # Copies of their own: bits of products depend on where in memory a tensor begins.
                    tensors = {part: file.get_tensor(key).clone() for part, key in layer.keys.items()}
                    found[name] = _layer(layer, tensors, scaling)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise _unreadable(path, error) from error
    return found


def read_tensors(path: Path | str, keys: Collection[str]) -> dict[str, torch.Tensor]:
    """Some tensors of a file by their names in it. Raises BrokenFile."""
    path = expanded(path)
    try:
        with safe_open(str(path), framework="pt") as file:
            return {key: file.get_tensor(key).clone() for key in keys}
    except (OSError, SafetensorError, RuntimeError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> BrokenFile:
    why = str(error).splitlines()[0][:200]
    return BrokenFile(
        f"{path.name} can't be read: {why}", "Get the file again, or train it again.", path=path
    )


def _rows(tensor: torch.Tensor, shape: tuple[int, ...], third: int) -> torch.Tensor:
    """The third of a fused layer's tensor that has this shape; one that all three share is whole already."""
    return tensor if tensor.shape[0] == shape[0] else tensor.chunk(3)[third].clone()


def _layer(layer: FileLayer, parts: dict[str, torch.Tensor], scaling: Mapping[str, Scaling]) -> LayerWeights:
    alpha_tensor = parts.pop(ALPHA, None)
    if layer.third is not None:
        parts = {part: _rows(tensor, layer.shapes[part], layer.third) for part, tensor in parts.items()}
    rank = kinds.rank_of(layer.shapes)
    alpha = alpha_of(scaling, layer.spelled, rank) if alpha_tensor is None else float(alpha_tensor)
    if alpha is not None and not math.isfinite(alpha):
        raise RuntimeError(f"the alpha of {shown(layer.spelled)} is no number ({alpha})")
    if "lora_magnitude_vector" in layer.keys.get(DORA, ""):
        parts[DORA] = parts[DORA].reshape(-1, 1)  # PEFT's are always those of the outputs
    if UP_BIAS in parts:
        scale = alpha / rank if alpha and rank else 1.0
        parts[BIAS] = parts.get(BIAS, 0) + scale * parts.pop(UP_BIAS)
    return LayerWeights(kind=layer.kind, parts=parts, alpha=alpha)
