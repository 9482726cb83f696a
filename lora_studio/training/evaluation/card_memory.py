"""The memory that a training takes on a graphics card, counted where there is none to measure it on."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from lora_studio.families.sampling import denoising_bytes
from lora_studio.families.weights.block_swap import saved_bytes
from lora_studio.training.model import Engine

CONTEXT = 500_000_000
"""Bytes that CUDA takes for itself, about; torch doesn't count them."""


class TensorPeak(TorchDispatchMode):
    """The bytes of all tensors that are made inside the block; `peak` is the most that were there at once.
    What kernels take for themselves while they compute is not seen."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._bytes = 0
        self._seen: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(
        self,
        operation: Callable[..., Any],
        types: object,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        for given in tree_iter((args, kwargs)):
            self._see(given, counts=False)  # there before, if it is new to us
        made = operation(*args, **(kwargs or {}))
        for tensor in tree_iter(made):
            self._see(tensor, counts=True)
        self.peak = max(self.peak, self._bytes)
        return made

    def _see(self, value: object, *, counts: bool) -> None:
        if not isinstance(value, torch.Tensor) or value.layout != torch.strided:
            return
        storage = value.untyped_storage()
        place, nbytes = id(storage), storage.nbytes() if counts else 0
        if place in self._seen:
            return

        def forget(_: object) -> None:
            self._bytes -= nbytes
            self._seen.pop(place, None)

        self._bytes += nbytes
        self._seen[place] = weakref.ref(storage, forget)


def resident_bytes(engine: Engine) -> int:
    """Bytes of all that is on the device between two steps before the first one: the base, its autoencoder
    and the LoRA; of swapped blocks the two largest."""
    modules = [*engine.base.models().values(), engine.base.codec.module]
    tensors = [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]
    tensors += [weight for group in engine.parameter_groups() for weight in group["params"]]
    whole = sum({tensor.data_ptr(): tensor.nbytes for tensor in tensors}.values())
    return whole - (saved_bytes(engine.swap.blocks) if engine.swap is not None else 0)


def card_bytes(engine: Engine, step_bytes: int, sizes: Sequence[tuple[int, int]]) -> int:
    """Bytes that a training would take of a graphics card in this machine's number format: all of the base,
    as while it is loaded, and beside it a step, or a picture of one of these sizes in pixels on its way
    through the autoencoder or through the denoiser."""
    pixels = max(width * height for width, height in sizes)
    drawing = max(engine.base.codec.decoding_bytes(pixels), denoising_bytes(engine.base, pixels))
    return resident_bytes(engine) + max(step_bytes, drawing) + CONTEXT
