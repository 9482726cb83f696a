"""Pictures that take their steps together: the denoiser is asked about all of them in one call.

That takes less time, and must not show in the pictures. A library chooses its kernel by the number of rows
that a layer gets, and kernels differ in the last bits. So layers with one row a sample get the rows of one
picture at a time, and whether all else gives each picture the bits that it gets alone is tried on the device
at hand, at the first step of each shape; where it doesn't, every picture goes by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

from lora_studio.families.base import BaseModel
from lora_studio.families.sampling import (
    Question,
    Step,
    Walk,
    denoising_bytes,
    embedded_of,
    rows_of,
    steps_of,
)
from lora_studio.runtime import HEADROOM, Device, find_memory

LITTLE = 256 * 2**20
"""Bytes that no machine feels."""


class Lockstep:
    """Denoising of several pictures at once by `model`, with the bits of one by one. What was tried holds
    while the same layers are on the model, such as those of one LoRA."""

    def __init__(self, model: BaseModel) -> None:
        self._model = model
        self._is_exact: dict[object, bool] = {}

    def batches(self, walks: Sequence[Walk], most: int) -> list[list[Walk]]:
        """The walks that may go together, `most` at once."""
        kinds: dict[object, list[Walk]] = {}
        for walk in walks:
            kinds.setdefault(self._kind(walk), []).append(walk)
        found: list[list[Walk]] = []
        for alike in kinds.values():
            parts = [alike[start : start + most] for start in range(0, len(alike), most)]
            for part in parts:
                found += [part] if self.keeps_bits(part) else [[walk] for walk in part]
        return found

    def keeps_bits(self, walks: Sequence[Walk]) -> bool:
        """Whether no trial has shown yet that company changes these."""
        return self._is_exact.get(self._shape(walks), True)

    @torch.no_grad()
    def sample(self, walks: Sequence[Walk]) -> Iterator[list[Step]]:
        """Let one batch go, a step at a time: each walk as `sampling.sample` lets it go alone, to the bit."""
        together, shape = Question(self._model, walks), self._shape(walks)
        alone = [] if self._is_exact.get(shape) else [Question(self._model, [walk]) for walk in walks]

        def ask(seen: Sequence[torch.Tensor], time: torch.Tensor) -> list[torch.Tensor]:
            if len(walks) == 1:
                return together.answers(seen, time)
            if self._is_exact.get(shape):
                return at_once(seen, time)
            found = [question.answers([one], time)[0] for question, one in zip(alone, seen, strict=True)]
            if shape not in self._is_exact:
                self._is_exact[shape] = all(map(torch.equal, found, at_once(seen, time)))
            return found

        def at_once(seen: Sequence[torch.Tensor], time: torch.Tensor) -> list[torch.Tensor]:
            with rows_by_picture(self._model.denoiser, together.rows):
                return together.answers(seen, time)

        yield from steps_of(walks, together, ask)

    def _kind(self, walk: Walk) -> tuple[object, ...]:
        """Equal for walks that the denoiser can be asked about in one call."""
        guidance = embedded_of(self._model, walk.guidance), rows_of(self._model, walk.guidance)
        texts = tuple(tuple(text.states.shape) for text in walk.texts)
        times = tuple(walk.sampler.times.tolist())
        return times, tuple(walk.latents.shape), walk.latents.dtype, texts, guidance

    def _shape(self, walks: Sequence[Walk]) -> object:
        return len(walks), self._kind(walks[0])[1:]


def most_at_once(model: BaseModel, device: Device, size: tuple[int, int]) -> int:
    """The count of pictures of this width and height that may go together: as many as fit into the memory
    that decoding one of them takes anyway, or into LITTLE, and into what is free now; one at least."""
    pixels = size[0] * size[1]
    wanted = max(model.codec.decoding_bytes(pixels), LITTLE)
    room = min(wanted, int(HEADROOM * find_memory(device)[0]))
    return max(1, room // denoising_bytes(model, pixels))


@contextmanager
def rows_by_picture(denoiser: torch.nn.Module, rows: int) -> Iterator[None]:
    """Give linear layers with one row a sample, such as those of the time, so many rows at a time inside the
    block."""
    layers = [layer for layer in denoiser.modules() if isinstance(layer, torch.nn.Linear)]
    before = [vars(layer).get("forward") for layer in layers]
    for layer in layers:
        vars(layer)["forward"] = _InParts(layer.forward, rows)
    try:
        yield
    finally:
        for layer, forward in zip(layers, before, strict=True):
            if forward is None:
                del vars(layer)["forward"]
            else:
                vars(layer)["forward"] = forward


class _InParts:
    """A layer's function that gets a sample's row like those of a picture by itself."""

    def __init__(self, forward: Callable[[torch.Tensor], torch.Tensor], rows: int) -> None:
        self._forward = forward
        self._rows = rows

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        if inputs.dim() != 2:
            return self._forward(inputs)
        return torch.cat([self._forward(part) for part in inputs.split(self._rows)])
