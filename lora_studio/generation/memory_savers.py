"""Memory that drawing may use: the budget of loaded base models, and a ladder of ways to need less of it,
each a little slower than without."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from lora_studio.runtime import Device, find_memory

if TYPE_CHECKING:
    import torch
    from torch.nn import Module

    from lora_studio.families.base import BaseModel
    from lora_studio.families.weights.block_swap import BlockSwap
    from lora_studio.settings import Settings

GB = 10**9
SHARES = {"cuda": 0.85, "mps": 0.5, "cpu": 0.5}
"""Share of all memory that loaded base models may take. The CPU's is also everybody else's."""
LORA_SHARE, LEAST_FOR_LORAS = 0.05, 256 * 10**6
TILES, SLICES, OFFLOAD, SWAP = "tiles", "slices", "offload", "blocks_to_swap"
LADDERS = {"cuda": (TILES, OFFLOAD, SWAP), "mps": (SLICES, TILES), "cpu": (TILES,)}
"""Attention in slices only where it is not computed piece by piece anyway: there it would cost memory."""
SAID = {
    TILES: "Memory is short: the picture is decoded in tiles, so fine tones may differ a little.",
    SLICES: "Memory is short: attention is computed in slices, which takes longer.",
    OFFLOAD: "Memory is short: the parts of the base model take turns on the device, which takes longer.",
    SWAP: (
        "Memory is short: the blocks of the base's denoiser wait in the machine's memory and come to the "
        "device for their turn, which takes longer."
    ),
}


class Pipeline(Protocol):
    """A diffusers pipeline over a base's parts, as far as memory goes."""

    @property
    def components(self) -> dict[str, Module]: ...

    def enable_attention_slicing(self, slice_size: str | None) -> None: ...

    def enable_model_cpu_offload(self, *, device: str) -> None: ...

    def maybe_free_model_hooks(self) -> None: ...

    def remove_all_hooks(self) -> None: ...


@dataclass(kw_only=True)
class MemorySavers:
    """The rungs that a pipeline stands on now. `least` are those that an error has taught, with the number of
    pixels from which on they are needed."""

    model: BaseModel
    pipe: Pipeline
    device: Device
    rungs: tuple[str, ...] = ()
    least: tuple[str, ...] = ()
    least_from: float = math.inf
    ladder: tuple[str, ...] = field(init=False)
    swap: BlockSwap | None = None

    def __post_init__(self) -> None:
        self.ladder = LADDERS[self.device.kind]

    def use(self, rungs: Sequence[str]) -> tuple[str, ...]:
        """Stand on exactly these rungs. Returns those that are new."""
        added = tuple(rung for rung in rungs if rung not in self.rungs)
        for rung in self.rungs:
            if rung not in rungs:
                self._switch(rung, on=False, rests=OFFLOAD in rungs)
        for rung in added:
            self._switch(rung, on=True)
        self.rungs = tuple(rungs)
        return added

    def needed_bytes(self, rungs: Sequence[str]) -> int:
        """Bytes of the device that the weights take on these rungs: those of all parts, or of the largest
        where they take turns; of swapped blocks the two largest."""
        from lora_studio.families.weights.block_swap import saved_bytes

        parts = []
        for module in modules_of(self.pipe):
            is_swapped = SWAP in rungs and module is self.model.denoiser
            saved = saved_bytes(self.model.blocks) if is_swapped else 0
            parts.append(size_of(module.parameters()) - saved)
        return max(parts) if OFFLOAD in rungs else sum(parts)

    def _switch(self, rung: str, *, on: bool, rests: bool = False) -> None:
        if rung == SWAP:
            self._swap_blocks(on, rests)
            return
        if rung == TILES:
            self.model.codec.use_tiles(on)
        elif rung == SLICES:
            self.pipe.enable_attention_slicing("auto" if on else None)
        elif on:
            self.pipe.enable_model_cpu_offload(device=self.device.kind)
        else:
            self.pipe.remove_all_hooks()
            for module in modules_of(self.pipe):
                module.to(self.device.kind)

    def _swap_blocks(self, on: bool, rests: bool) -> None:
        from lora_studio.families.weights.block_swap import BlockSwap

        if on:
            self.swap = BlockSwap(self.model.blocks, len(self.model.blocks))
            self.swap.start(self.device.kind)
        elif self.swap is not None:
            self.swap.stop("cpu" if rests else self.device.kind)
            self.swap = None


def budget_bytes(settings: Settings, device: Device) -> int:
    """Most bytes that loaded base models may take together."""
    if settings.memory_gb is not None:
        return int(settings.memory_gb * GB)
    return int(SHARES[device.kind] * find_memory(device)[1])


def lora_bytes(device: Device) -> int:
    """Most bytes that the LoRAs of one base model may take, used or kept for a quick way back."""
    return max(LEAST_FOR_LORAS, int(LORA_SHARE * find_memory(device)[1]))


def size_of(tensors: Iterator[torch.Tensor]) -> int:
    """Bytes of tensors, each counted once."""
    return sum({tensor.data_ptr(): tensor.nbytes for tensor in tensors}.values())


def modules_of(pipe: Pipeline) -> list[Module]:
    return [part for part in pipe.components.values() if hasattr(part, "parameters")]


def free_memory() -> None:
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
