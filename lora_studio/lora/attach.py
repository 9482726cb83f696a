"""Puts a fresh LoRA on a loaded model, with PEFT's layers (Hu et al. 2021)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer

from lora_studio.lora.keys import ALPHA, DOWN, UP

ADAPTER = "default"


class Layer(Protocol):
    """Where a LoRA goes: part of the model, module path in it, name in the file (a family's Target is
    one)."""

    @property
    def part(self) -> str: ...
    @property
    def module(self) -> str: ...
    @property
    def name(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class AttachedLora:
    """The LoRA of one run. `layers` and `modules` (paths in the model) go by names in the file; `parts`
    lists the names of each part, `configs` holds what PEFT was given for it."""

    dim: int
    alpha: float
    layers: Mapping[str, LoraLayer]
    modules: Mapping[str, str]
    parts: Mapping[str, tuple[str, ...]]
    configs: Mapping[str, LoraConfig]

    def parameters(self, part: str) -> list[torch.nn.Parameter]:
        """The trained weights of one part, in a fixed order."""
        return [weight for name in self.parts[part] for weight in _weights(self.layers[name])]

    def tensors(self, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
        """What the file holds: down, up and alpha of each layer, on the CPU."""
        found: dict[str, torch.Tensor] = {}
        for name, layer in self.layers.items():
            down, up = _weights(layer)
            found[f"{name}.{ALPHA}"] = torch.tensor(float(self.alpha), dtype=dtype)
            found[f"{name}.{DOWN}"] = down.detach().to("cpu", dtype).clone().contiguous()
            found[f"{name}.{UP}"] = up.detach().to("cpu", dtype).clone().contiguous()
        return found


def attach(
    models: Mapping[str, Any],
    layers: Sequence[Layer],
    *,
    dim: int,
    alpha: float,
    dropout: float = 0.0,
    seed: int = 0,
) -> AttachedLora:
    """Put a LoRA on `layers` of `models` (by part). Down is Kaiming uniform with a = sqrt(5), up is zero,
    so nothing changes yet. Weights are 32 bit whatever the base is held in. The global random state is left
    as it was."""
    parts: dict[str, tuple[str, ...]] = {}
    configs: dict[str, LoraConfig] = {}
    attached: dict[str, LoraLayer] = {}
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        for part in dict.fromkeys(layer.part for layer in layers):
            chosen = [layer for layer in layers if layer.part == part]
            configs[part] = LoraConfig(
                r=dim, lora_alpha=alpha, target_modules=[layer.module for layer in chosen], bias="none"
            )
            inject_adapter_in_model(configs[part], models[part], adapter_name=ADAPTER)
            parts[part] = tuple(layer.name for layer in chosen)
            for layer in chosen:
                attached[layer.name] = _prepared(models[part].get_submodule(layer.module), dropout)
    modules = {layer.name: layer.module for layer in layers}
    return AttachedLora(dim=dim, alpha=alpha, layers=attached, modules=modules, parts=parts, configs=configs)


def is_finite(tensors: Iterable[torch.Tensor]) -> bool:
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)


def changes_nothing(tensors: Mapping[str, torch.Tensor]) -> bool:
    """Whether all up matrices are still zero."""
    return not any(bool(tensor.any()) for key, tensor in tensors.items() if key.endswith(UP))


def _prepared(layer: Any, dropout: float) -> LoraLayer:
    for weight in _weights(layer):
        weight.data = weight.data.float()
        weight.requires_grad_(True)
    if dropout:
        layer.lora_A[ADAPTER].register_forward_hook(_rank_dropout(dropout))
    return layer


def _rank_dropout(share: float) -> Callable[..., torch.Tensor]:
    """Kohya drops entries of the rank, between down and up; PEFT's own dropout would drop the layer's
    input."""

    def drop(module: torch.nn.Module, _: Any, output: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.dropout(output, share, training=module.training)

    return drop


def _weights(layer: Any) -> tuple[torch.nn.Parameter, torch.nn.Parameter]:
    return layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
