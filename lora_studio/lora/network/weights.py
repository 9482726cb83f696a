"""The tensors of a LoRA file, layer by layer, whatever spelling it has."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


def read_contents(path: Path | str, *, split_fused: bool = True) -> tuple[Contents, Mapping[str, Scaling]]:
    """The contents of a file, and the alphas in its metadata. Raises BrokenFile, UnknownFormat."""
    path = expanded(path)
    metadata, table, _ = read_tensor_table(path)
    contents = contents_of(table, split_fused=split_fused)
    if not contents.layers:
        raise UnknownFormat(f"{path.name} has no layer that can be used.", NETWORKS, path=path)
    return contents, scalings(metadata, path)


def read_weights(path: Path | str, only: Collection[str] | None = None) -> dict[str, LayerWeights]:
    """The usable layers of a file (with `only` those of these names) by Kohya's name, in the file's order.
    Raises BrokenFile, UnknownFormat."""
    return _with_finite_alphas(path, stream_weights(path, only))


def read_layers(
    path: Path | str, layers: Mapping[str, FileLayer], scaling: Mapping[str, Scaling]
) -> dict[str, LayerWeights]:
    """Read these layers of a file, whose header was read before, in their order. Raises BrokenFile."""
    with OpenLayers.known(path, Contents(layers=layers), scaling) as file:
        return _with_finite_alphas(path, ((name, file.read(name)) for name in layers))


def stream_weights(
    path: Path | str, only: Collection[str] | None = None
) -> Iterator[tuple[str, LayerWeights]]:
    """The layers that `read_weights` gives, one after the other, so that only one is in memory. Numbers may
    be NaN or infinite, an alpha too. Raises BrokenFile, UnknownFormat."""
    with OpenLayers.of(path) as file:
        for name in file.contents.layers:
            if only is None or name in only:
                yield name, file.read(name)


def _with_finite_alphas(
    path: Path | str, layers: Iterable[tuple[str, LayerWeights]]
) -> dict[str, LayerWeights]:
    found = dict(layers)
    for name, layer in found.items():
        if layer.alpha is not None and not math.isfinite(layer.alpha):
            why = f"the alpha of {shown(name)} is no number ({layer.alpha})"
            raise _unreadable(expanded(path), RuntimeError(why))
    return found


@dataclass(frozen=True)
class OpenLayers:
    """An open file whose layers are read one at a time, in any order."""

    path: Path
    contents: Contents
    _scaling: Mapping[str, Scaling]
    _file: Any

    @classmethod
    @contextlib.contextmanager
    def of(cls, path: Path | str, *, split_fused: bool = True) -> Iterator[OpenLayers]:
        """Open a file; `split_fused` as for `contents_of`. Raises BrokenFile, UnknownFormat."""
        with cls.known(path, *read_contents(path, split_fused=split_fused)) as file:
            yield file

    @classmethod
    @contextlib.contextmanager
    def known(
        cls, path: Path | str, contents: Contents, scaling: Mapping[str, Scaling]
    ) -> Iterator[OpenLayers]:
        """Open a file whose header was read before. Raises BrokenFile."""
        path = expanded(path)
        try:
            opened = safe_open(str(path), framework="pt")
        except (OSError, SafetensorError, RuntimeError) as error:
            raise _unreadable(path, error) from error
        with opened as file:
            yield cls(path, contents, scaling, file)

    def read(self, name: str) -> LayerWeights:
        """A layer by Kohya's name. Raises BrokenFile."""
        layer = self.contents.layers[name]
        try:
            # Copies of their own: bits of products depend on where in memory a tensor begins.
            tensors = {part: self._file.get_tensor(key).clone() for part, key in layer.keys.items()}
            if any(tensor.is_complex() for tensor in tensors.values()):
                raise RuntimeError(f"{shown(name)} has complex numbers")
            return _layer(layer, tensors, self._scaling)
        except (OSError, SafetensorError, RuntimeError) as error:
            raise _unreadable(self.path, error) from error


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
    if "lora_magnitude_vector" in layer.keys.get(DORA, ""):
        parts[DORA] = parts[DORA].reshape(-1, 1)  # PEFT's are always those of the outputs
    if UP_BIAS in parts:
        scale = alpha / rank if alpha and rank else 1.0
        parts[BIAS] = parts.get(BIAS, 0) + scale * parts.pop(UP_BIAS)
    return LayerWeights(kind=layer.kind, parts=parts, alpha=alpha)
