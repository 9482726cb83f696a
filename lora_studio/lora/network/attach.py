"""Attaching a fresh network to a model: plain LoRA (Hu et al. 2021) by PEFT's layers, all else by ours."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from peft import LoHaConfig, LoKrConfig, LoraConfig, PeftConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer

from lora_studio.lora.file.keys import ALPHA, DORA, DOWN, UP, split_key
from lora_studio.lora.network import kinds
from lora_studio.lora.network.layers import Change, Dropouts, Shape, change_from, fresh_weights, put_on
from lora_studio.lora.network.ranks import Layer, Size
from lora_studio.lora.network.weights import LayerWeights

ADAPTER = "default"
PLAIN = Shape()

Weights = dict[str, torch.nn.Parameter]


@dataclass(frozen=True, kw_only=True)
class AttachedLora:
    """The network of one run on `models` (by part). `layers` (PEFT's, or ours), `modules` (paths in the
    model) and `sizes` go by names in the file; `parts` lists the names of each part, `peft_config` is PEFT's
    description of the network, if it has one."""

    models: Mapping[str, Any]
    dim: int
    alpha: float
    layers: Mapping[str, Any]
    modules: Mapping[str, str]
    parts: Mapping[str, tuple[str, ...]]
    sizes: Mapping[str, Size]
    shape: Shape = PLAIN
    peft_config: PeftConfig | None = None
    base_magnitudes: Mapping[str, torch.Tensor] = field(default_factory=dict)

    def weights(self, name: str) -> Weights:
        """The trained weights of one layer by their part's name in the file."""
        layer = self.layers[name]
        return (
            layer.weights if isinstance(layer, Change) else dict(zip((DOWN, UP), _pair(layer), strict=True))
        )

    def parameters(self, part: str) -> list[torch.nn.Parameter]:
        """The trained weights of one part, in a fixed order."""
        return [weight for name in self.parts.get(part, ()) for weight in self.weights(name).values()]

    def tensors(self, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
        """The tensors of the file: the weights and alpha of each layer, on the CPU."""
        found: dict[str, torch.Tensor] = {}
        for name in self.layers:
            found[f"{name}.{ALPHA}"] = torch.tensor(self.alpha_of(name), dtype=dtype)
            for part, weight in self.weights(name).items():
                found[f"{name}.{part}"] = weight.detach().to("cpu", dtype).clone().contiguous()
        return found

    def alpha_of(self, name: str) -> float:
        return float(self.sizes[name].alpha)

    def changes_nothing(self, tensors: Mapping[str, torch.Tensor]) -> bool:
        """Whether a file with these tensors (as from `tensors`) would leave the base as it is."""
        return changes_nothing(tensors, self.base_magnitudes)

    def state(self) -> dict[str, torch.Tensor]:
        """The trained weights in 32 bit on the CPU, for resuming the run."""
        return {
            f"{name}.{part}": weight.detach().to("cpu", torch.float32).clone()
            for name in self.layers
            for part, weight in self.weights(name).items()
        }

    @torch.no_grad()
    def load_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore the weights of `state`, to the bit. Raises KeyError, RuntimeError for another network's."""
        for name in self.layers:
            for part, weight in self.weights(name).items():
                weight.copy_(state[f"{name}.{part}"])

    @contextlib.contextmanager
    def left_out(self) -> Iterator[None]:
        """Give the models their own layers inside the block. PEFT's switch would change what is trained."""
        with contextlib.ExitStack() as back:
            for part, names in self.parts.items():
                for name in names:
                    back.callback(_take_off(self.models[part], self.modules[name], self.layers[name]))
            yield

    @contextlib.contextmanager
    def as_saved(self, dtype: torch.dtype) -> Iterator[None]:
        """Instead of what trains, the models have inside the block what generation makes of the file that
        would be saved now in `dtype`."""
        changes = []
        for name, parts in by_layer(self.tensors(dtype)).items():
            base = (
                self.layers[name].base
                if isinstance(self.layers[name], Change)
                else self.layers[name].base_layer
            )
            alpha = float(parts.pop(ALPHA))
            saved = LayerWeights(kind=kinds.kind_of(parts), parts=parts, alpha=alpha)
            changes.append(change_from(base, saved))
            # The layer itself may wait in the machine's memory.
            changes[-1].settle(str(next(iter(self.weights(name).values())).device))
        with self.left_out(), contextlib.ExitStack() as back:
            for change in changes:
                back.callback(put_on(change.base, [change]).remove)
            yield

    def to(self, device: str) -> None:
        """Move our own layers, which are no part of the model. Parameters stay the same objects."""
        for layer in self.layers.values():
            if isinstance(layer, Change):
                layer.hold(device)


def attach(
    models: Mapping[str, Any],
    layers: Sequence[Layer],
    *,
    dim: int,
    alpha: float,
    sizes: Mapping[str, Size] | None = None,
    shape: Shape = PLAIN,
    seed: int = 0,
) -> AttachedLora:
    """Put a network on `layers` of `models` (by part): linear layers and convolutions, each with `dim` and
    `alpha` or with its own entry in `sizes`. The model's output does not change yet. Weights are 32 bit
    whatever the base is held in. The global random state is left as it was."""
    usual = Size(dim=dim, alpha=alpha or float(dim))
    all_sizes = {layer.name: (sizes or {}).get(layer.name, usual) for layer in layers}
    parts = {
        part: tuple(layer.name for layer in layers if layer.part == part)
        for part in dict.fromkeys(layer.part for layer in layers)
    }
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        if shape.is_plain:
            attached: dict[str, Any] = {}
            for part in parts:
                chosen = [layer for layer in layers if layer.part == part]
                _inject(models[part], chosen, usual, all_sizes)
                for layer in chosen:
                    attached[layer.name] = _prepared(models[part].get_submodule(layer.module), shape.dropouts)
        else:
            attached = {
                layer.name: _changed(
                    models[layer.part].get_submodule(layer.module), all_sizes[layer.name], shape
                )
                for layer in layers
            }
    return AttachedLora(
        models={part: models[part] for part in parts},
        dim=dim,
        alpha=usual.alpha,
        layers=attached,
        modules={layer.name: layer.module for layer in layers},
        parts=parts,
        peft_config=describe(shape, usual, all_sizes, layers),
        sizes={name: _real_size(size, attached[name], shape) for name, size in all_sizes.items()},
        shape=shape,
        base_magnitudes={
            name: layer.weights[DORA].detach().to("cpu", torch.float32).clone()
            for name, layer in attached.items()
            if shape.dora_wd and not layer.base.weight.is_meta
        },
    )


def changes_nothing(
    tensors: Mapping[str, torch.Tensor], magnitudes: Mapping[str, torch.Tensor] | None = None
) -> bool:
    """Whether no layer adds anything. `magnitudes` are the base's own, by layer: a DoRA with others changes
    the base, and so does one whose base's are unknown."""
    return all(
        kinds.is_zero(kinds.kind_of(parts), parts) and _same(parts.get(DORA), (magnitudes or {}).get(name))
        for name, parts in by_layer(tensors).items()
    )


def by_layer(tensors: Mapping[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
    """The tensors of a file by layer and part."""
    layers: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        name, part = split_key(key)
        layers.setdefault(name, {})[part] = tensor
    return layers


def _same(magnitude: torch.Tensor | None, base: torch.Tensor | None) -> bool:
    if magnitude is None:
        return True
    return base is not None and torch.equal(magnitude, base.to(magnitude.dtype))


def _take_off(model: Any, path: str, layer: Any) -> Callable[[], None]:
    """Pass a layer of the network by; returns the way back."""
    if isinstance(layer, Change):
        was_off, layer.off = layer.off, True
        return lambda: setattr(layer, "off", was_off)
    before = model.get_submodule(path)
    model.set_submodule(path, layer.base_layer)
    return lambda: model.set_submodule(path, before)


def _inject(model: Any, layers: Sequence[Layer], usual: Size, sizes: Mapping[str, Size]) -> None:
    config = LoraConfig(
        r=usual.dim,
        lora_alpha=usual.alpha,
        target_modules=[layer.module for layer in layers],
        bias="none",
        **_patterns(usual, sizes, layers),
    )
    inject_adapter_in_model(config, model, adapter_name=ADAPTER)


def describe(
    shape: Shape, usual: Size, sizes: Mapping[str, Size], layers: Sequence[Layer]
) -> PeftConfig | None:
    """PEFT's configuration of this network; None where PEFT has none: it turns inputs where OFT files turn
    outputs, knows DoRA's norms of outputs only, and no DoRA of other kinds."""
    targets = [layer.module for layer in layers]
    patterns = _patterns(usual, sizes, layers)
    if shape.kind == kinds.LORA and (shape.wd_on_output or not shape.dora_wd):
        return LoraConfig(
            r=usual.dim,
            lora_alpha=usual.alpha,
            target_modules=targets,
            bias="none",
            use_dora=shape.dora_wd,
            **patterns,
        )
    if shape.dora_wd or shape.kind == kinds.DIAG_OFT or shape.full_matrix:
        return None
    if shape.kind == kinds.LOHA:
        return LoHaConfig(r=usual.dim, alpha=usual.alpha, target_modules=targets, **patterns)
    return LoKrConfig(
        r=usual.dim,
        alpha=usual.alpha,
        target_modules=targets,
        decompose_both=shape.decompose_both,
        decompose_factor=shape.factor,
        **patterns,
    )


def _patterns(usual: Size, sizes: Mapping[str, Size], layers: Sequence[Layer]) -> dict[str, Any]:
    """PEFT's rank and alpha patterns, regular expressions, for layers with a size of their own."""
    others = [(layer.module.replace(".", r"\."), sizes[layer.name]) for layer in layers]
    return {
        "rank_pattern": {path: size.dim for path, size in others if size.dim != usual.dim},
        "alpha_pattern": {path: size.alpha for path, size in others if size.alpha != usual.alpha},
    }


def _prepared(layer: Any, dropouts: Dropouts) -> LoraLayer:
    for weight in _pair(layer):
        weight.data = weight.data.float()
        weight.requires_grad_(True)
    if dropouts.network or dropouts.rank:
        layer.lora_A[ADAPTER].register_forward_hook(_rank_dropouts(dropouts))
    if dropouts.module:
        layer.lora_B[ADAPTER].register_forward_hook(_module_dropout(dropouts.module))
    return layer


def _changed(base: Any, size: Size, shape: Shape) -> Change:
    weights = {
        name: torch.nn.Parameter(tensor.float())
        for name, tensor in fresh_weights(base, shape, size.dim).items()
    }
    alpha = shape.constraint if shape.kind == kinds.DIAG_OFT else size.alpha
    change = Change(kind=shape.kind, base=base, weights=weights, alpha=alpha, dropouts=shape.dropouts)
    put_on(base, [change])
    return change


def _real_size(size: Size, layer: Any, shape: Shape) -> Size:
    """Rank and alpha as the file has them. OFT's alpha is its constraint. Two full matrices of LoKr are not
    scaled, which LyCORIS writes as alpha = dim."""
    if shape.kind == kinds.DIAG_OFT:
        return Size(dim=size.dim, alpha=shape.constraint)
    if shape.kind == kinds.LOKR and not kinds.rank_of({n: w.shape for n, w in layer.weights.items()}):
        return Size(dim=size.dim, alpha=float(size.dim))
    return size


def _rank_dropouts(dropouts: Dropouts) -> Callable[..., torch.Tensor]:
    """Kohya's dropouts between down and up; PEFT's own dropout would drop the layer's input. `rank` leaves
    out whole ranks, others for each picture, and scales the rest up."""

    def drop(module: torch.nn.Module, _: Any, output: torch.Tensor) -> torch.Tensor:
        if not module.training:
            return output
        if dropouts.network:
            output = torch.nn.functional.dropout(output, dropouts.network)
        if dropouts.rank:
            is_image = output.dim() == 4
            ranks = output.shape[1 if is_image else -1]
            keep = (torch.rand(output.shape[0], ranks) > dropouts.rank).to(output.device)
            inner = [1] * (output.dim() - 2)
            keep = keep.view(-1, ranks, *inner) if is_image else keep.view(-1, *inner, ranks)
            output = output * keep / (1 - dropouts.rank)
        return output

    return drop


def _module_dropout(share: float) -> Callable[..., torch.Tensor]:
    """Dropout of a layer's whole change. The optimizer passes a dropped one over: it has no gradient."""

    def drop(module: torch.nn.Module, _: Any, output: torch.Tensor) -> torch.Tensor:
        dropped = module.training and torch.rand(1) < share
        return torch.zeros_like(output, requires_grad=False) if dropped else output

    return drop


def _pair(layer: Any) -> tuple[torch.nn.Parameter, torch.nn.Parameter]:
    return layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
