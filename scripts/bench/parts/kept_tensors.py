"""The tensors that autograd keeps of a step for its way back, counted while they are kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from lora_studio.training.activations.remade_tensors import Recipe, pack, unpack


class KeptTensors:
    """Bytes of what is kept inside the block beside weights and buffers of `models`, by the module that keeps
    it first: views of one tensor count once. `frugal`: as `remaking` keeps them."""

    def __init__(self, models: Iterable[torch.nn.Module], *, frugal: bool) -> None:
        self._frugal = frugal
        self._names = {id(module): name for model in models for name, module in model.named_modules()}
        self._held = {
            _place(tensor) for model in models for tensor in (*model.parameters(), *model.buffers())
        }
        self._seen: dict[int, torch.UntypedStorage] = {}
        self._path: list[str] = []
        self.by_module: Counter[str] = Counter()

    @property
    def nbytes(self) -> int:
        return self.by_module.total()

    @contextmanager
    def counted(self) -> Iterator[None]:
        def enter(module: torch.nn.Module, _: Any) -> None:
            self._path.append(self._names.get(id(module), ""))

        def leave(*_: Any) -> None:
            self._path.pop()

        handles = [register_module_forward_pre_hook(enter), register_module_forward_hook(leave)]
        try:
            with saved_tensors_hooks(self._pack, unpack):
                yield
        finally:
            for handle in handles:
                handle.remove()

    def _pack(self, tensor: torch.Tensor) -> Any:
        kept = pack(tensor) if self._frugal else tensor.detach()
        recipe = kept if isinstance(kept, Recipe) else getattr(kept, "recipe", None)
        for one in [kept] if recipe is None else recipe.kept:
            storage = one.untyped_storage()
            if _place(one) not in self._held and _place(one) not in self._seen:
                self._seen[_place(one)] = storage  # held, so that no other takes its place
                self.by_module[self._path[-1] if self._path else ""] += storage.nbytes()
        return kept


def _place(tensor: torch.Tensor) -> int:
    place: int = tensor.untyped_storage()._cdata
    return place
