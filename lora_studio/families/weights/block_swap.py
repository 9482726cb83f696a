"""Blocks of a denoiser that lie in the machine's memory and come to the device for their turn, sd-scripts'
`blocks_to_swap`: the next one is on its way while one computes.

A block's frozen weights are exchanged for copies on the device while its `forward` runs. What autograd keeps
for the way back are the copies, so the numbers are the same to the bit; with gradient checkpointing a block
is computed again there, and comes again. What is trained stays on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from lora_studio.formatting import size

MARK = "lies_in_host_memory"
"""An attribute of modules."""
FURTHEST = 2
"""Swapped blocks that are on the device at once: the one that computes, and the next."""


@dataclass(frozen=True, kw_only=True)
class _Slot:
    """A place for a tensor in a module (`table` is its parameters or its buffers), what stands there while
    the block waits, and the copy on the device."""

    table: Any
    name: str
    held: torch.Tensor
    copy: torch.Tensor


class BlockSwap:
    """The swapping of `count` of a denoiser's blocks, spread evenly over all of them in the order in which
    they compute; of fewer blocks than that, all. From now on `place_model` leaves these in the machine's
    memory, and what moves the whole denoiser passes them by; `start` lets them come."""

    def __init__(self, blocks: Sequence[Any], count: int) -> None:
        count = min(count, len(blocks))
        places = [(2 * number + 1) * len(blocks) // (2 * count) for number in range(count)]
        self.total = len(blocks)
        self.blocks = [blocks[place] for place in places]
        for block in self.blocks:
            # torch moves a module by calling this on each of its children.
            vars(block)["_apply"] = lambda function, recurse=True, block=block: block
            keep_in_host_memory(block)
        self._handles: list[Any] = []
        self._device = torch.device("cpu")
        self._stream: Any = None
        self._inside: dict[int, list[_Slot]] = {}
        self._coming: tuple[int, list[_Slot], Any] | None = None
        self._latest, self._upwards = -1, True

    @property
    def sentence(self) -> str:
        if self._stream is None:
            return "blocks_to_swap: without a graphics card it saves no memory."
        return (
            f"{len(self.blocks)} of the denoiser's {self.total} blocks lie in the machine's memory and come "
            f"to the device for their turn: {size(saved_bytes(self.blocks))} less there."
        )

    def start(self, device: str) -> None:
        """Settle in the machine's memory, where CUDA can read it by itself, and come to `device` from now on.
        To be called again when weights were exchanged for others."""
        self._coming = None
        self._device = torch.device(device)
        self._stream = torch.cuda.Stream(self._device) if self._device.type == "cuda" else None
        for block in self.blocks:
            for table, name, held in _frozen(block):
                waiting = held.data.to("cpu")
                table[name] = _like(held, waiting.pin_memory() if self._stream else waiting)
        if not self._handles:
            for number, block in enumerate(self.blocks):
                self._handles += self._hooks(number, block)

    def stop(self, device: str) -> None:
        """Bring the blocks to `device` for good."""
        self._coming = None
        while self._handles:
            self._handles.pop().remove()
        for block in self.blocks:
            vars(block).pop("_apply", None)
            for module in block.modules():
                if hasattr(module, MARK):
                    delattr(module, MARK)
            for table, name, held in _frozen(block):
                table[name] = _like(held, held.data.to(device))

    def fetch(self, number: int) -> tuple[int, list[_Slot], Any]:
        """Begin to copy a block; what it returns last tells when all is there."""
        with torch.cuda.stream(self._stream):
            slots = [
                _Slot(table=table, name=name, held=held, copy=_like(held, self._copied(held)))
                for table, name, held in _frozen(self.blocks[number])
            ]
        return number, slots, self._stream.record_event() if self._stream else None

    def _hooks(self, number: int, block: Any) -> Iterator[Any]:
        def enter(module: torch.nn.Module, given: object) -> None:
            self._enter(number)

        def leave(module: torch.nn.Module, given: object, output: object) -> None:
            self._leave(number)

        yield block.register_forward_pre_hook(enter, prepend=True)
        # Also after an error, and where checkpointing breaks off once it has what it wants.
        yield block.register_forward_hook(leave, always_call=True)

    def _enter(self, number: int) -> None:
        slots = self._arrived(number)
        self._inside[number] = slots
        for slot in slots:
            slot.table[slot.name] = slot.copy
        coming = self._next(number)
        self._coming = (number, slots, None) if coming == number else self.fetch(coming)

    def _leave(self, number: int) -> None:
        for slot in self._inside.pop(number, ()):
            slot.table[slot.name] = slot.held

    def _arrived(self, number: int) -> list[_Slot]:
        """The block's copies, on their way already or fetched now."""
        coming, self._coming = self._coming, None
        if coming is None or coming[0] != number:
            coming = self.fetch(number)
        _, slots, done = coming
        if done is not None:
            current = torch.cuda.current_stream(self._device)
            current.wait_event(done)
            for slot in slots:
                slot.copy.record_stream(current)
        return slots

    def _copied(self, held: torch.Tensor) -> torch.Tensor:
        return held.data.to(self._device, non_blocking=True)

    def _next(self, number: int) -> int:
        """The block that most likely comes next: the one behind, and with gradients all the way back. Where
        it turns, the same once more."""
        if not torch.is_grad_enabled():
            self._latest, self._upwards = -1, True
            return (number + 1) % len(self.blocks)
        self._upwards = not self._upwards if number == self._latest else number > self._latest
        self._latest = number
        return min(max(number + (1 if self._upwards else -1), 0), len(self.blocks) - 1)


def saved_bytes(blocks: Sequence[Any], less: Callable[[Any], int] | None = None) -> int:
    """Bytes of the device that swapping these blocks saves; `less` is what a block will have less then."""
    sizes = [sum(held.nbytes for _, _, held in _frozen(block)) for block in blocks]
    if less is not None:
        sizes = [size - less(block) for size, block in zip(sizes, blocks, strict=True)]
    return sum(sorted(sizes)[:-FURTHEST])


def keep_in_host_memory(block: torch.nn.Module) -> None:
    """Mark a block, or a part of one that was added later."""
    for module in block.modules():
        setattr(module, MARK, True)


def lies_in_host_memory(module: torch.nn.Module) -> bool:
    return bool(getattr(module, MARK, False))


def _frozen(block: Any) -> Iterator[tuple[Any, str, torch.Tensor]]:
    """The untrained tensors of a block: the table that each stands in, its name there, itself."""
    for module in block.modules():
        for table in (module._parameters, module._buffers):
            for name, tensor in [*table.items()]:
                if tensor is not None and not tensor.requires_grad:
                    yield table, name, tensor


def _like(held: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """A parameter if that is one."""
    is_parameter = isinstance(held, torch.nn.Parameter)
    return torch.nn.Parameter(values, requires_grad=False) if is_parameter else values
