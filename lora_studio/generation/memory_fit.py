"""Fits a request into the memory that is free: before it is drawn, and after an error for lack of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from lora_studio.errors import OutOfMemory
from lora_studio.events import Emit, Noted
from lora_studio.generation.memory_savers import BITS, OFFLOAD, SAID, SLICES, SWAP, TILES, free_memory
from lora_studio.runtime import HEADROOM, find_memory, memory_errors

if TYPE_CHECKING:
    from lora_studio.generation.pipelines import LoadedBase
    from lora_studio.request import GenerateRequest

Result = TypeVar("Result")

TILE = 512
"""Pixels of a tile's side in the autoencoder of a base model for 512 pixels."""
UNLOADED = "Memory is short: the other base models were unloaded."


def fit(base: LoadedBase, request: GenerateRequest, emit: Emit) -> None:
    """Switch on what a request (width and height filled in; the larger ones of a second pass count) takes to
    fit into the memory that is free now, and off what it doesn't take; each saver switched on is told with a
    Noted. Small requests on large devices change nothing and cost microseconds."""
    pixels = _pixels(request)
    free = find_memory(base.device)[0]
    if _need(base, pixels, ()) > HEADROOM * free and base.make_room():
        emit(Noted(message=UNLOADED, level="warning"))
        free = find_memory(base.device)[0]
    least = base.savers.least if pixels >= base.savers.least_from else ()
    free -= _resting(base, base.savers.rungs)  # what would be there again without them
    ladder = base.savers.ladder
    for count in range(len(ladder) + 1):
        rungs = tuple(rung for rung in ladder if rung in (*ladder[:count], *least))
        if _need(base, pixels, rungs) <= HEADROOM * (free + _resting(base, rungs)):
            break
    else:
        # Nothing is known to be enough, so nothing is given up for it; an error may still ask for that.
        rungs = tuple(rung for rung in rungs if rung not in BITS or rung in least)
    for rung in base.savers.use(rungs):
        emit(Noted(message=SAID[rung], level="warning"))


def after_oom(base: LoadedBase, request: GenerateRequest) -> str | None:
    """Go one rung up after an error for lack of memory and say how in a sentence; None at the top, where
    there is nothing left to try. Later requests of this size or more begin there."""
    free_memory()
    if base.make_room():
        return UNLOADED
    savers = base.savers
    higher = next((rung for rung in savers.ladder if rung not in savers.rungs), None)
    if higher is None:
        return None
    savers.least = tuple(rung for rung in savers.ladder if rung in (*savers.rungs, higher))
    savers.least_from = min(savers.least_from, _pixels(request))
    with memory_errors("rounding the base model", "Take a smaller size or a smaller base model."):
        savers.use(savers.least)
    return SAID[higher]


def draw_within(base: LoadedBase, request: GenerateRequest, emit: Emit, draw: Callable[[], Result]) -> Result:
    """Call `draw` after `fit`; as often as the memory was not enough, again one rung up, telling it with a
    Noted. Raises what `draw` raises, OutOfMemory only from the top of the ladder. `draw` must give the same
    when called again."""
    fit(base, request, emit)
    while True:
        try:
            return draw()
        except OutOfMemory as error:
            failed = (error.message, error.hint)  # the error itself holds the tensors of its frames
        sentence = after_oom(base, request)
        if sentence is None:
            raise OutOfMemory(*failed)
        emit(Noted(message=sentence, level="warning"))


def _pixels(request: GenerateRequest) -> int:
    width, height = request.width or TILE, request.height or TILE
    return int(width * height * request.hires_scale**2)


def _need(base: LoadedBase, pixels: int, rungs: Sequence[str]) -> int:
    """Bytes that a picture takes while it is drawn, beside the weights."""
    from lora_studio.families.sampling import denoising_bytes  # loads torch

    codec, (_, heads) = base.model.codec, base.model.widths
    decoding = codec.decoding_bytes(min(pixels, TILE**2) if TILES in rungs else pixels)
    denoising = denoising_bytes(base.model, pixels)
    if SLICES in base.savers.ladder:
        tokens, number = pixels // codec.step**2, base.model.dtype.itemsize
        denoising += 2 * number * tokens**2 * (heads if SLICES not in rungs else max(1, heads // 2))
    return max(decoding, denoising)


def _resting(base: LoadedBase, rungs: Sequence[str]) -> int:
    """Bytes of the weights that are away on these rungs while the part that takes most works."""
    if not {OFFLOAD, SWAP, *BITS} & set(rungs):
        return 0
    return base.savers.needed_bytes(()) - base.savers.needed_bytes(rungs)
