"""The tensors of a LoRA file, layer by layer, whatever spelling it has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from lora_studio.errors import BrokenFile, UnknownFormat
from lora_studio.lora import kinds
from lora_studio.lora.files import read_tensor_table
from lora_studio.lora.keys import ALPHA, DORA, read_key, short_name


@dataclass(frozen=True, kw_only=True)
class LayerWeights:
    """One layer of a file: its kind, its tensors by part, and alpha (None: no scaling)."""

    kind: str
    parts: Mapping[str, torch.Tensor]
    alpha: float | None

    @property
    def dim(self) -> int:
        """0 where the layer has none."""
        return kinds.rank_of(self.shapes)

    @property
    def shapes(self) -> dict[str, torch.Size]:
        return {name: tensor.shape for name, tensor in self.parts.items()}


def read_weights(path: Path | str) -> dict[str, LayerWeights]:
    """All layers by Kohya's name, in the file's order. Raises BrokenFile, UnknownFormat."""
    path = Path(path).expanduser()
    _, table, _ = read_tensor_table(path)
    layers: dict[str, dict[str, torch.Tensor]] = {}
    try:
        with safe_open(str(path), framework="pt") as file:
            for key in table:
                name, part = read_key(key)
                if not part:
                    raise unknown_kind(path, key)
                # A copy of its own: bits of products depend on where in memory a tensor begins.
                tensor = file.get_tensor(key).clone()
                if part == DORA and "lora_magnitude_vector" in key:
                    tensor = tensor.reshape(-1, 1)  # PEFT's are always those of the outputs
                layers.setdefault(name, {})[part] = tensor
    except (OSError, SafetensorError, RuntimeError) as error:
        raise BrokenFile(
            f"{path.name} can't be read: {str(error).splitlines()[0][:200]}", path=path
        ) from error
    return {name: _layer(path, name, parts) for name, parts in layers.items()}


def unknown_kind(path: Path, key: str) -> UnknownFormat:
    return UnknownFormat(
        f"{path.name} holds weights of a kind that is not known here ({short_name(key)}).",
        "LoRA, LoCon, DoRA, LoHa, LoKr and OFT files work, as made here, by Kohya's trainer or LyCORIS.",
        path=path,
    )


def _layer(path: Path, name: str, parts: dict[str, torch.Tensor]) -> LayerWeights:
    alpha = parts.pop(ALPHA, None)
    kind = kinds.kind_of(parts)
    if not kind:
        raise UnknownFormat(
            f"The layer {name[:120]} of {path.name} is incomplete.",
            "Get the file again, or train it again.",
            path=path,
        )
    if kind == kinds.DIAG_OFT and parts["oft_blocks"].dim() != 3:
        raise UnknownFormat(
            f"{path.name} is a butterfly OFT, which can't be used here.", "diag-oft files work.", path=path
        )
    return LayerWeights(kind=kind, parts=parts, alpha=None if alpha is None else float(alpha))
