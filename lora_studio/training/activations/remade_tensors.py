"""Tensors that a step makes anew on its way back instead of keeping them.

Autograd keeps the inputs of nearly every operation. Many of them are what a cheap operation, a norm or an
activation, made of a tensor that is kept anyway. `mark` notes on such an output how it was made; inside
`remaking` whatever wants to keep it gets that recipe in its place, and what asks for it on the way back gets
the output of the same operation once more: the same kernel on the same numbers, so the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd.graph import saved_tensors_hooks

MARK = "_lora_studio_recipe"
"""An attribute of tensors."""
LEAST = 64 * 2**10
"""Bytes of a tensor below which keeping it is cheaper than making it anew."""


class Recipe:
    """The way to make a marked output again: `make` of its sources, which are tensors or recipes themselves.
    What was made is held until all who were promised it have had it, so that it is made once."""

    def __init__(
        self, output: torch.Tensor, make: Callable[..., torch.Tensor], inputs: tuple[torch.Tensor, ...]
    ) -> None:
        self._make = make
        self._sources = tuple(recipe_of(one) or one.detach() for one in inputs)
        self._versions = [None if isinstance(one, Recipe) else one._version for one in self._sources]
        self.version = output._version
        self._layout = output.stride()
        kind = output.device.type
        self._autocast = kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)
        self._promised = 0
        self._made: torch.Tensor | None = None

    @property
    def kept(self) -> list[torch.Tensor]:
        """The tensors that are kept instead of the output."""
        found: list[torch.Tensor] = []
        for source in self._sources:
            found += source.kept if isinstance(source, Recipe) else [source]
        return found

    def promise(self) -> Recipe:
        """Count one more who will ask for the output."""
        if not self._promised:
            for source in self._sources:
                if isinstance(source, Recipe):
                    source.promise()
        self._promised += 1
        return self

    def take(self) -> torch.Tensor:
        """The output. Raises RuntimeError where a source was changed in place meanwhile."""
        made = self._again() if self._made is None else self._made
        self._promised -= 1
        self._made = made if self._promised > 0 else None
        return made

    def _again(self) -> torch.Tensor:
        sources = []
        for source, version in zip(self._sources, self._versions, strict=True):
            if not isinstance(source, Recipe) and source._version != version:
                raise RuntimeError("A tensor that is needed on the way back was changed in place.")
            sources.append(source.take() if isinstance(source, Recipe) else source)
        kind, dtype, enabled = self._autocast
        with torch.no_grad(), torch.autocast(kind, dtype, enabled):
            made = self._make(*sources)
        if made.stride() != self._layout:
            raise RuntimeError("A tensor that is needed on the way back was made anew in another layout.")
        return made


@dataclass(frozen=True)
class _View:
    """A view of an output that is made anew."""

    recipe: Recipe
    size: torch.Size
    stride: tuple[int, ...]
    offset: int


def mark(output: torch.Tensor, make: Callable[..., torch.Tensor], *inputs: torch.Tensor) -> torch.Tensor:
    """Note on `output` that it is `make(*inputs)`, where it is worth it. The inputs must be kept anyway, or
    be marked. Nothing random may be in `make`. Returns `output`."""
    if output.requires_grad and is_large(output):
        setattr(output, MARK, Recipe(output, make, inputs))
    return output


def is_large(tensor: torch.Tensor) -> bool:
    """Whether to spare a tensor is worth the trouble."""
    return tensor.nbytes >= LEAST


def recipe_of(tensor: torch.Tensor) -> Recipe | None:
    """The recipe of a marked tensor; None where it was changed in place since."""
    recipe: Recipe | None = getattr(tensor, MARK, None)
    return recipe if recipe is not None and recipe.version == tensor._version else None


def remaking() -> AbstractContextManager[object]:
    """Keep recipes instead of marked tensors inside the block, the way forth of a step."""
    return saved_tensors_hooks(pack, unpack)


def pack(tensor: torch.Tensor) -> Any:
    """The thing to keep instead of a tensor."""
    base = tensor._base
    recipe = recipe_of(tensor if base is None else base)
    if recipe is None:
        # A node of the graph that keeps its own output would keep itself.
        return tensor if tensor.is_leaf else tensor.detach()
    recipe.promise()
    if base is None:
        return recipe
    return _View(recipe, tensor.size(), tensor.stride(), int(tensor.storage_offset()))


def unpack(kept: Any) -> torch.Tensor:
    """The tensor that was to be kept."""
    if isinstance(kept, _View):
        return kept.recipe.take().as_strided(kept.size, kept.stride, kept.offset)
    if isinstance(kept, Recipe):
        return kept.take()
    found: torch.Tensor = kept
    return found
