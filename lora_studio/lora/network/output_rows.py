"""Linear layers that files have otherwise than the base: some outputs of one as a layer of their own, and
several with their outputs in a row as one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.nn.functional import linear, pad

from lora_studio.lora.file.contents import FUSED, FUSED_PARTS
from lora_studio.lora.file.flux_keys import Pieces
from lora_studio.lora.file.keys import DOWN, UP, names_in_files, names_of_rows
from lora_studio.lora.network.weights import LayerWeights


class OutputRows:
    """Rows `pieces` of a linear weight. A change goes onto `module`, as if one of these outputs alone."""

    def __init__(self, module: torch.nn.Module, pieces: Pieces) -> None:
        self.module = module
        self.pieces = pieces

    @property
    def weight(self) -> torch.Tensor:
        """[o, i], of these rows."""
        return self._of(self.module.weight, 0)

    @property
    def bias(self) -> torch.Tensor | None:
        """[o], of these rows."""
        bias: Any = self.module.bias
        return None if bias is None else self._of(bias, 0)

    @property
    def training(self) -> bool:
        return self.module.training

    def outputs(self, output: torch.Tensor) -> torch.Tensor:
        """The share of the module's output, [..., o]."""
        return self._of(output, -1)

    def widened(self, added: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        """An addition to these outputs as one to all of `output`."""
        found, place = torch.zeros_like(output), 0
        for first, end in self.pieces:
            share = added[..., place : place + end - first]
            found = found + pad(share.to(output.dtype), (first, output.shape[-1] - end))
            place += end - first
        return found

    def _of(self, values: Any, axis: int) -> torch.Tensor:
        shares = [values.narrow(axis, first, end - first) for first, end in self.pieces]
        return shares[0] if len(shares) == 1 else torch.cat(shares, dim=axis)


class SideBySide:
    """Linear layers of the same inputs as the one layer that a file has: its outputs are theirs in a row. A
    change of it is computed when the first of them is asked; the others take their share of that."""

    def __init__(self, modules: Sequence[torch.nn.Module]) -> None:
        self.modules = tuple(modules)
        self._waiting: dict[object, tuple[torch.Tensor, torch.Tensor | None]] = {}

    @property
    def shape(self) -> torch.Size:
        """[o, i], of all together."""
        shapes = [_shape(module) for module in self.modules]
        return torch.Size((sum(shape[0] for shape in shapes), shapes[0][1]))

    @property
    def weight(self) -> torch.Tensor:
        """[o, i], of all together."""
        weights: list[Any] = [module.weight for module in self.modules]
        return torch.cat(weights)

    @property
    def bias(self) -> torch.Tensor | None:
        """[o], of all together; None where one has none."""
        biases: list[Any] = [module.bias for module in self.modules]
        return None if any(bias is None for bias in biases) else torch.cat(biases)

    @property
    def training(self) -> bool:
        return self.modules[0].training

    def outputs(self, inputs: torch.Tensor) -> torch.Tensor:
        """The base's own outputs of all, [..., o]."""
        made = []
        for module in self.modules:
            layer: Any = module
            made.append(linear(inputs, layer.weight, layer.bias))
        return torch.cat(made, dim=-1)

    def share(
        self,
        module: torch.nn.Module,
        inputs: torch.Tensor,
        added: Callable[[], torch.Tensor | None],
        change: object,
    ) -> torch.Tensor | None:
        """One layer's share in what `change` adds for these inputs; `added` computes the whole."""
        seen, whole = self._waiting.get(change, (None, None))
        if seen is not inputs:
            whole = added()
            self._waiting[change] = inputs, whole
        if module is self.modules[-1]:
            del self._waiting[change]
        if whole is None:
            return None
        place = self.modules.index(module)
        sides = [_shape(one)[0] for one in self.modules]
        return whole.narrow(-1, sum(sides[:place]), sides[place])


Place = torch.nn.Module | OutputRows | SideBySide
"""The thing that a layer of a file changes."""


def shape_of(base: Any) -> torch.Size:
    """The shape of a place's weight, without making it."""
    return base.shape if isinstance(base, SideBySide) else _shape(base)


def store(base: Any, name: str, values: torch.Tensor) -> None:
    """Replace the weight or the bias of a place."""
    if isinstance(base, SideBySide):
        sides = [_shape(module)[0] for module in base.modules]
        for module, share in zip(base.modules, values.split(sides), strict=True):
            store(module, name, share.clone())
        return
    if not isinstance(base, OutputRows):
        getattr(base, name).data = values
        return
    kept, place = getattr(base.module, name), 0
    whole = kept.data.clone()
    for first, end in base.pieces:
        whole[first:end] = values[place : place + end - first]
        place += end - first
    kept.data = whole


def join_rows(
    file: Mapping[str, LayerWeights], layers: Iterable[tuple[str, str, str, Sequence[int]]]
) -> dict[str, LayerWeights]:
    """The layers of a file, plain LoRAs of rows put together to one of the whole layer: their ranks side by
    side, each with its scale inside. `layers` are part, module path, name and shape of those of a network.
    Rows of other sizes than the layer's stay as they are: nothing has their name."""
    found = dict(file)
    for part, path, name, shape in layers:
        rows = names_of_rows(part, path, shape) if len(shape) == 2 else {}
        there = {theirs: pieces for theirs, pieces in rows.items() if theirs in found}
        if there and all(_fit_rows(found[theirs], pieces, shape) for theirs, pieces in there.items()):
            shares = [(found.pop(theirs), pieces) for theirs, pieces in there.items()]
            found[name] = _joined(shares, shape[0])
    return found


def _fit_rows(layer: LayerWeights, pieces: Pieces, shape: Sequence[int]) -> bool:
    """Whether a layer of a file is a plain LoRA of these rows of a layer with that shape."""
    if layer.parts.keys() != {DOWN, UP} or any(tensor.dim() < 2 for tensor in layer.parts.values()):
        return False
    up, down = (layer.parts[part].flatten(1).shape for part in (UP, DOWN))
    return (*up, *down) == (sum(end - first for first, end in pieces), layer.dim, layer.dim, shape[1])


def _joined(shares: Sequence[tuple[LayerWeights, Pieces]], outputs: int) -> LayerWeights:
    up = torch.zeros(outputs, sum(layer.dim for layer, _ in shares))
    rank = 0
    for layer, pieces in shares:
        scale = layer.alpha / layer.dim if layer.alpha else 1.0
        place = 0
        for first, end in pieces:
            rows = layer.parts[UP].flatten(1)[place : place + end - first]
            up[first:end, rank : rank + layer.dim] = scale * rows.float()
            place += end - first
        rank += layer.dim
    downs = [layer.parts[DOWN].flatten(1).float() for layer, _ in shares]
    return LayerWeights(kind=shares[0][0].kind, parts={DOWN: torch.cat(downs), UP: up}, alpha=None)


def modules_of(base: Any) -> tuple[torch.nn.Module, ...]:
    """The modules that compute the outputs which a change of `base` belongs to."""
    if isinstance(base, SideBySide):
        return base.modules
    return (base.module if isinstance(base, OutputRows) else base,)


def named_layers(part: str, path: str, name: str, module: Any) -> Iterator[tuple[str, Any]]:
    """A layer of a model, and rows of it, by the names that files may have for them; `name` is our own."""
    for theirs in names_in_files(part, path, name):
        yield theirs, module
    if isinstance(module, torch.nn.Linear):
        for theirs, pieces in names_of_rows(part, path, module.weight.shape).items():
            yield theirs, OutputRows(module, pieces)


def fused_layers_of(layers: Mapping[str, Any]) -> dict[str, SideBySide]:
    """The attentions among these layers (by the names that files have for them) whose query, key and value
    are one layer in some files, by its name there."""
    first, *others = FUSED_PARTS
    found = {}
    for name, query in layers.items():
        start = name.removesuffix(first)
        if start != name and all(f"{start}{end}" in layers for end in others):
            found[f"{start}{FUSED}"] = SideBySide([query, *(layers[f"{start}{end}"] for end in others)])
    return found


def _shape(module: Any) -> torch.Size:
    shape: torch.Size = module.weight.shape
    return shape
