"""Memory that drawing may use: a budget of loaded bases, and a ladder of slower ways with less."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from lora_studio.runtime import Device, find_memory

if TYPE_CHECKING:
    from torch.nn import Module

    from lora_studio.families.base import BaseModel
    from lora_studio.families.weights.block_swap import BlockSwap
    from lora_studio.settings import Settings

GB = 10**9
SHARES = {"cuda": 0.85, "mps": 0.5, "cpu": 0.5}
"""Share of all memory that loaded base models may take. The CPU's is also everybody else's."""
LORA_SHARE, LEAST_FOR_LORAS = 0.05, 256 * 10**6
TILES, SLICES, OFFLOAD, SWAP = "tiles", "slices", "offload", "blocks_to_swap"
BITS = {"qint8": 8, "nf4": 4}
"""Rungs that hold the denoiser in few bits, by the names that settings have for them. There is no way back:
the exact weights are gone until the base is loaded anew."""
LADDERS = {
    "cuda": (TILES, OFFLOAD, SWAP, *BITS),
    "mps": (SLICES, TILES, *BITS),
    "cpu": (TILES,),
}
"""Attention in slices only where it is not computed piece by piece anyway: there it would cost memory. On a
CPU too little memory makes things slow long before it makes an error, so pictures stay exact there."""
SAID = {
    TILES: "Memory is short: the picture is decoded in tiles, so fine tones may differ a little.",
    SLICES: "Memory is short: attention is computed in slices, which takes longer.",
    OFFLOAD: "Memory is short: the parts of the base model take turns on the device, which takes longer.",
    SWAP: (
        "Memory is short: the blocks of the base's denoiser wait in the machine's memory and come to the "
        "device for their turn, which takes longer."
    ),
    **{
        rung: (
            f"Memory is short: the base's denoiser is held in {bits} bits ({rung}) until it is loaded anew, "
            "so pictures differ from those before."
        )
        for rung, bits in BITS.items()
    },
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
    pixels from which on they are needed. `qtypes` are the formats of few bits that the denoiser was rounded
    to, one after the other. `swap` is there while blocks are swapped; given from the start, it stays."""

    model: BaseModel
    pipe: Pipeline
    device: Device
    rungs: tuple[str, ...] = ()
    least: tuple[str, ...] = ()
    least_from: float = math.inf
    ladder: tuple[str, ...] = field(init=False)
    swap: BlockSwap | None = None
    qtypes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        bits = 4 if "nf4" in self.qtypes else 8 if self.qtypes else 16
        self.ladder = tuple(
            rung
            for rung in LADDERS[self.device.kind]
            if not (rung == SWAP and self.swap is not None) and BITS.get(rung, 0) < bits
        )

    @property
    def qtype(self) -> str:
        """The format that the denoiser is held in, with those on the way there."""
        return "+".join(self.qtypes) or "none"

    def use(self, rungs: Sequence[str]) -> tuple[str, ...]:
        """Stand on exactly these rungs, and on those that there is no way back from. Returns the new ones."""
        rungs = (*rungs, *(rung for rung in self.rungs if rung in BITS and rung not in rungs))
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
        where they take turns; of swapped blocks the two largest. Few bits are counted where the weights
        aren't held in them yet."""
        saved = self._saved_bytes(rungs)
        parts = [
            size_of(module) - (saved if module is self.model.denoiser else 0)
            for module in modules_of(self.pipe)
        ]
        return max(parts) if OFFLOAD in rungs else sum(parts)

    def _saved_bytes(self, rungs: Sequence[str]) -> int:
        """Bytes of the denoiser that these rungs keep off the device."""
        from lora_studio.families.weights.block_swap import saved_bytes
        from lora_studio.families.weights.quantised_weights import savings_of

        coming = [rung for rung in rungs if rung in BITS and rung not in self.qtypes]
        saved = savings_of(self.model.denoiser, coming[-1]) if coming else 0
        if SWAP in rungs or self.swap is not None:
            blocks = self.model.blocks if self.swap is None else self.swap.blocks
            less = functools.partial(savings_of, qtype=coming[-1], is_part=True) if coming else None
            saved += saved_bytes(blocks, less)
        return saved

    def _switch(self, rung: str, *, on: bool, rests: bool = False) -> None:
        if rung == SWAP:
            self._swap_blocks(on, rests)
            return
        if rung in BITS:
            self._quantise(rung)
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

    def _quantise(self, rung: str) -> None:
        from lora_studio.families.weights.quantised_weights import quantise_weights

        quantise_weights(self.model.denoiser, rung)
        self.qtypes = (*self.qtypes, rung)
        if self.swap is not None:
            self.swap.start(self.device.kind)

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


def size_of(module: Module) -> int:
    """Bytes of a module's weights and of what they are made with, each tensor counted once."""
    tensors = (*module.parameters(), *module.buffers())
    return sum({tensor.data_ptr(): tensor.nbytes for tensor in tensors}.values())


def modules_of(pipe: Pipeline) -> list[Module]:
    return [part for part in pipe.components.values() if hasattr(part, "parameters")]


def free_memory() -> None:
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
