"""A change of weights that is merged into a base of 8 bits: how much of it survives the rounding.

W is the base's weight, D the change, Q the rounding. The base moves by E = Q(W + D) - Q(W). `arrives` is
<E, D> / <D, D>, the part of E along D; `noise` is |E - D| / |D|. Where D is far below the steps of Q, most
weights stay and a few move by a whole step: `arrives` stays near 1 on the average, and the noise grows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lora_studio.lora.file.contents import LeftOut, contents_of, say_left_out
from lora_studio.lora.file.tensor_table import read_tensor_table
from lora_studio.lora.inspection.lora_report import OnBase, Survival
from lora_studio.lora.network.kinds import is_finite
from lora_studio.lora.network.layer_fit import fit_to
from lora_studio.lora.network.layers import change_from
from lora_studio.lora.network.quantisation import FLOAT8, LARGEST_FLOAT8, to_int8
from lora_studio.lora.network.weights import LayerWeights, stream_weights


def rounded_to_fp8(weight: torch.Tensor) -> torch.Tensor:
    """A weight in float8_e4m3fn, the format that other programs keep a base in, without a scale."""
    return weight.clamp(-LARGEST_FLOAT8, LARGEST_FLOAT8).to(FLOAT8).float()


def rounded_to_int8(weight: torch.Tensor) -> torch.Tensor:
    """A weight in whole numbers from -127 to 127 with a step for each output; a vector has one for all."""
    rounded, step = to_int8(weight if weight.dim() > 1 else weight[None])
    return (rounded * step).reshape(weight.shape)


FORMATS: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "fp8": rounded_to_fp8,
    "int8": rounded_to_int8,
}

UNMEASURED = "without a change that is numbers"


@dataclass(kw_only=True)
class _Sums:
    """Sums over all weights so far: <E, D>, |E - D|^2, weights that should move, and those that don't."""

    along: float = 0.0
    beside: float = 0.0
    wanted: int = 0
    unmoved: int = 0

    def add(self, moved: torch.Tensor, change: torch.Tensor) -> None:
        self.along += float((moved * change).double().sum())
        self.beside += float((moved - change).double().pow(2).sum())
        self.wanted += int((change != 0).sum())
        self.unmoved += int(((change != 0) & (moved == 0)).sum())


@torch.no_grad()
def measure_on_base(path: Path, modules: Mapping[str, Any], base: str) -> OnBase:
    """Measure a file on a base's layers (by all names that files have for them), one layer at a time. Layers
    with NaN or infinite numbers count as without a place. Raises BrokenFile, UnknownFormat."""
    contents = contents_of(read_tensor_table(path)[1])
    fit = fit_to(contents, modules)
    sums = {name: _Sums() for name in FORMATS}
    of_change = of_weight = 0.0
    layers = 0
    unmeasured = []
    for name, layer in stream_weights(path, fit.layers):
        weight, change = _weight_and_change(modules[name], layer)
        if change is None:
            values = sum(tensor.numel() for tensor in layer.parts.values())
            unmeasured.append(LeftOut(name=name, why=UNMEASURED, values=values))
            continue
        layers += 1
        of_change += float(change.double().pow(2).sum())
        of_weight += float(weight.double().pow(2).sum())
        for kind, rounded in FORMATS.items():
            sums[kind].add(rounded(weight + change) - rounded(weight), change)
    left = (*contents.left_out, *fit.left_out, *unmeasured)
    return OnBase(
        base=base,
        layers=layers,
        relative=math.sqrt(of_change / of_weight) if of_weight else 0.0,
        survivals=tuple(_survival(kind, sums[kind], of_change) for kind in FORMATS if of_change),
        left_out=say_left_out(left, contents.values),
    )


def _weight_and_change(module: Any, layer: LayerWeights) -> tuple[torch.Tensor, torch.Tensor | None]:
    weight = module.weight.detach().float()
    if not all(is_finite(tensor) for tensor in layer.parts.values()):
        return weight, None
    try:
        change = change_from(module, layer).delta()
    except (RuntimeError, ValueError):
        return weight, None
    return weight, change if is_finite(change) else None


def _survival(bits: str, sums: _Sums, of_change: float) -> Survival:
    return Survival(
        bits=bits,
        arrives=sums.along / of_change,
        noise=math.sqrt(sums.beside / of_change),
        unmoved=sums.unmoved / max(1, sums.wanted),
    )
