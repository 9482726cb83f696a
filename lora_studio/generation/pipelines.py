"""Loaded base models, kept for the next request as long as the memory's budget allows."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lora_studio.errors import OutOfMemory
from lora_studio.events import Emit, Noted, PhaseAdvanced, ShouldStop, never_stop
from lora_studio.families import family_of
from lora_studio.families.base_files.fetched_base import fetched_base
from lora_studio.families.base_files.locate import FileStates, file_states
from lora_studio.families.weights.silence_libraries import quiet_libraries
from lora_studio.generation.lora_stack import LoraStack
from lora_studio.generation.memory_savers import (
    OFFLOAD,
    SAID,
    SWAP,
    MemorySavers,
    Pipeline,
    budget_bytes,
    free_memory,
    lora_bytes,
    modules_of,
    size_of,
)
from lora_studio.runtime import HEADROOM, Device, find_device, find_memory, memory_errors
from lora_studio.settings import Settings

if TYPE_CHECKING:
    import torch

    from lora_studio.families.base import BaseModel
    from lora_studio.families.base_files.found_base import FoundBase
    from lora_studio.families.batching.lockstep import Lockstep
    from lora_studio.families.weights.block_swap import BlockSwap

log = logging.getLogger(__name__)

Identity = tuple[str, FileStates]

HINT = "Close what else uses the device, or pick a smaller base model."
FP16 = "fp16"
NOT_HERE = "This device can't compute"
TITLES = {"fp16": "half precision (fp16)", "bf16": "bfloat16"}


@dataclass(frozen=True, kw_only=True)
class LoadedBase:
    """A base on its device; `pipe` has the very modules of `model`, for what saves memory. `size_bytes` is
    what its weights take; `make_room` unloads the other bases, if there are any, and says whether there
    were; `locksteps` know by its LoRAs what pictures may go together."""

    found: FoundBase
    model: BaseModel
    pipe: Any
    stack: LoraStack
    device: Device
    dtype: torch.dtype
    size_bytes: int
    savers: MemorySavers
    make_room: Callable[[], bool]
    locksteps: dict[object, Lockstep] = field(default_factory=dict)

    def rest(self) -> None:
        """Move what takes turns on the device off it; a pipeline's call does so at its end only."""
        self.pipe.maybe_free_model_hooks()


class Pipelines:
    """The loaded bases. Before another one is loaded, those unused for longest go until all fit into the
    budget; the one in use is never among them."""

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings or Settings.from_environment()
        self._loaded: dict[Identity, LoadedBase] = {}  # the latest used comes last

    def is_loaded(self, found: FoundBase) -> bool:
        return _identity(found) in self._loaded

    def get(self, found: FoundBase, emit: Emit, should_stop: ShouldStop = never_stop) -> LoadedBase | None:
        """The base, fetched and loaded if it is not; None when stopped meanwhile. Emits PhaseAdvanced of
        download and load, both in bytes, and Noted for what doesn't go as wished. Raises ModelFileError and
        its kin, OutOfMemory, StoreError (disk full)."""
        key = _identity(found)
        base = self._loaded.pop(key, None)
        if base is None:
            self._forget([other for other in self._loaded if other[0] == key[0]])
            here = fetched_base(found, emit, should_stop)
            if here is None:
                return None
            base, key = self._load(here, emit), _identity(here)
        self._loaded[key] = base
        return base

    def clear(self) -> None:
        """Free the memory of all bases."""
        self._forget(list(self._loaded))

    def _load(self, found: FoundBase, emit: Emit) -> LoadedBase:
        device = find_device()
        half = found.traits.half
        dtype = compute_dtype(device, self._settings.precision, half)
        wished = TITLES.get(self._settings.precision, "")
        if wished and str(dtype) != str(_dtypes()[self._settings.precision]):
            used = str(dtype).removeprefix("torch.")
            who = "This base model overflows" if half != self._settings.precision == FP16 else NOT_HERE
            emit(Noted(message=f"{who} in {wished}; {used} is used.", level="warning"))
        loading = _Loading(found, device, dtype, emit, self._settings)
        budget = budget_bytes(self._settings, device)
        self._make_fit(budget - loading.expected_bytes)
        try:
            savers = loading.run()
        except OutOfMemory:
            if not self._forget(list(self._loaded)):
                raise
            savers = loading.run()
        model, pipe = savers.model, savers.pipe
        size = sum(map(size_of, modules_of(pipe)))
        self._make_fit(budget - size)
        if savers.swap is not None:
            emit(Noted(message=savers.swap.sentence))
        if OFFLOAD in savers.rungs:
            _settle_resting(savers, emit)
        return LoadedBase(
            found=found,
            model=model,
            pipe=pipe,
            stack=LoraStack(model.models(), found.name, device=device.kind, kept_bytes=lora_bytes(device)),
            device=device,
            dtype=dtype,
            size_bytes=size,
            savers=savers,
            make_room=lambda: self._forget_all_but(pipe),
        )

    def _make_fit(self, room: int) -> None:
        """Unload the bases unused for longest until the rest takes no more than `room` bytes."""
        taken = sum(base.size_bytes for base in self._loaded.values())
        going = []
        for key, base in self._loaded.items():
            if taken <= room:
                break
            going.append(key)
            taken -= base.size_bytes
        self._forget(going)

    def _forget_all_but(self, pipe: Pipeline) -> bool:
        return self._forget([key for key, base in self._loaded.items() if base.pipe is not pipe])

    def _forget(self, keys: list[Identity]) -> bool:
        for key in keys:
            log.info("unloading the base model %s", self._loaded.pop(key).found.name)
        if keys:
            free_memory()
        return bool(keys)


class _Loading:
    """The way of one base from its files to the device."""

    def __init__(
        self, found: FoundBase, device: Device, dtype: torch.dtype, emit: Emit, settings: Settings
    ) -> None:
        from lora_studio.families.weights.loading import count_weights, weight_files

        files = weight_files(found)
        self._found, self._device, self._dtype, self._emit = found, device, dtype, emit
        self._qtype = "" if settings.qtype == "none" else settings.qtype
        self._blocks_to_swap = settings.blocks_to_swap
        self._file_bytes = sum(file.stat().st_size for file in files if file.is_file()) or 1
        self.expected_bytes = count_weights(files) * dtype.itemsize

    def run(self) -> MemorySavers:
        """The model and the pipeline over its parts, on the device; on the rung OFFLOAD in the machine's
        memory, where the device has too little for all of them."""
        begun = time.monotonic()
        self._say(0.0, begun)
        with memory_errors(f"loading the base model “{self._found.name}”", HINT), quiet_libraries():
            model = family_of(self._found).load()
            pipe = model.pipeline()
            savers = self._place(model, pipe, begun)
        self._say(1.0, begun)
        return savers

    def _place(self, model: BaseModel, pipe: Pipeline, begun: float) -> MemorySavers:
        from lora_studio.families.weights.loading import read_model

        swap, rests = self._hold_denoiser(model)
        modules = modules_of(pipe)
        sizes = [size_of(module) for module in modules]
        for number, module in enumerate(modules):
            read_model(module)
            # What is held in few bits has its own formats.
            dtype = None if module is model.denoiser and self._qtype else self._dtype
            module.to("cpu" if rests else self._device.kind, dtype)
            if number + 1 < len(modules):
                self._say(sum(sizes[: number + 1]) / sum(sizes), begun)
        if rests:
            pipe.enable_model_cpu_offload(device=self._device.kind)
        if swap is not None:
            swap.start(self._device.kind)
        return MemorySavers(
            model=model,
            pipe=pipe,
            device=self._device,
            rungs=(OFFLOAD,) if rests else (),
            swap=swap,
            qtypes=(self._qtype,) if self._qtype else (),
        )

    def _hold_denoiser(self, model: BaseModel) -> tuple[BlockSwap | None, bool]:
        """Hold the denoiser as the settings want it. Returns its swapped blocks, and whether all parts
        rest in the machine's memory because the device has too little for them."""
        from lora_studio.families.weights.block_swap import BlockSwap, saved_bytes
        from lora_studio.families.weights.loading import read_model
        from lora_studio.families.weights.quantised_weights import quantise_weights, savings_of

        swap, saved, less = None, 0, None
        if self._qtype or self._blocks_to_swap:
            read_model(model.denoiser)
            model.denoiser.to("cpu", self._dtype)
        if self._qtype:
            saved = savings_of(model.denoiser, self._qtype)
            less = functools.partial(savings_of, qtype=self._qtype, is_part=True)
        if self._blocks_to_swap:
            swap = BlockSwap(model.blocks, self._blocks_to_swap)
            saved += saved_bytes(swap.blocks, less)
        free, _ = find_memory(self._device)
        rests = self._device.kind == "cuda" and self.expected_bytes - saved > HEADROOM * free
        if self._qtype:
            quantise_weights(model.denoiser, self._qtype, "" if rests else self._device.kind)
        return swap, rests

    def _say(self, share: float, begun: float) -> None:
        took = f", {time.monotonic() - begun:.1f} s" if share else ""
        done = round(share * self._file_bytes)
        note = f"{self._found.name}{took}"
        self._emit(PhaseAdvanced(phase="load", done=done, total=self._file_bytes, note=note))


def _settle_resting(savers: MemorySavers, emit: Emit) -> None:
    """Keep to turns of the parts, and let the blocks take turns too where the largest part is too large."""
    tight = (
        SWAP in savers.ladder and savers.needed_bytes((OFFLOAD,)) > HEADROOM * find_memory(savers.device)[0]
    )
    savers.least, savers.least_from = (OFFLOAD, SWAP) if tight else (OFFLOAD,), 0
    savers.use(savers.least)
    for rung in savers.least:
        emit(Noted(message=SAID[rung], level="warning"))


def compute_dtype(device: Device, precision: str = "auto", half: str = FP16) -> torch.dtype:
    """The number format for a wish (auto, fp32, fp16 or bf16). By itself half precision on CUDA: its rounding
    is eight times finer than bfloat16's, and what most families here are published and used in; 32 bit
    elsewhere. A format that the device doesn't compute in directly gives way to the next larger one. `half`
    is the base's: one of bf16 overflows in fp16, and any CUDA device computes in bf16, older ones slowly."""
    import torch

    if half != FP16 and precision != "fp32":
        wants = precision == "bf16" or device.kind == "cuda"
        return torch.bfloat16 if wants and (device.native_bf16 or device.kind == "cuda") else torch.float32
    halves = device.kind in {"cuda", "mps"}
    if precision == "fp16" or (precision == "auto" and device.kind == "cuda"):
        return torch.float16 if halves else torch.float32
    if precision == "bf16":
        usual = torch.float16 if device.kind == "cuda" else torch.float32
        return torch.bfloat16 if device.native_bf16 else usual
    return torch.float32


def _dtypes() -> Mapping[str, torch.dtype]:
    import torch

    return {"fp16": torch.float16, "bf16": torch.bfloat16}


def _identity(found: FoundBase) -> Identity:
    """The place and state of the base: a base whose files have changed is another one."""
    return found.path_or_id, file_states(found)
