"""Loaded base models, kept for the next request."""

from __future__ import annotations

import gc
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_studio.events import Emit, PhaseAdvanced
from lora_studio.families import family_of
from lora_studio.families.quiet import quiet_libraries
from lora_studio.generation.stack import Stack
from lora_studio.runtime import Device, find_device, memory_errors

if TYPE_CHECKING:
    import torch

    from lora_studio.families.detect import FoundBase

log = logging.getLogger(__name__)

Identity = tuple[str, frozenset[tuple[str, int, int]]]

KEPT = 2
"""Base models that stay loaded."""


@dataclass(frozen=True, kw_only=True)
class LoadedBase:
    """A base on its device. `scheduler_config` is the base's own; `pipe.scheduler` changes with each
    request."""

    found: FoundBase
    pipe: Any
    stack: Stack
    scheduler_config: dict[str, Any]


class Pipelines:
    """The loaded bases; the one unused for longest goes when there are more than `kept`."""

    def __init__(self, *, kept: int = KEPT) -> None:
        self._kept = kept
        self._loaded: dict[Identity, LoadedBase] = {}  # the latest used comes last

    def is_loaded(self, found: FoundBase) -> bool:
        return _identity(found) in self._loaded

    def get(self, found: FoundBase, emit: Emit) -> LoadedBase:
        """The base, loaded if it is not. Raises ModelFileError and its kin, OutOfMemory."""
        key = _identity(found)
        base = self._loaded.pop(key, None)
        if base is None:
            self._forget([other for other in self._loaded if other[0] == key[0]])
            self._forget(list(self._loaded)[: max(0, len(self._loaded) - self._kept + 1)])
            emit(PhaseAdvanced(phase="load", done=0, total=1, note=found.name))
            base = _load(found)
            emit(PhaseAdvanced(phase="load", done=1, total=1, note=found.name))
        self._loaded[key] = base
        return base

    def clear(self) -> None:
        """Free the memory of all bases."""
        self._forget(list(self._loaded))

    def _forget(self, keys: list[Identity]) -> None:
        for key in keys:
            log.info("unloading the base model %s", self._loaded.pop(key).found.name)
        if keys:
            _free_memory()


def compute_dtype(device: Device) -> torch.dtype:
    """Half precision on CUDA: its rounding is eight times finer than bfloat16's, and what the families here
    are published and used in. 32 bit elsewhere."""
    import torch

    return torch.float16 if device.kind == "cuda" else torch.float32


def _load(found: FoundBase) -> LoadedBase:
    device = find_device()
    hint = "Close what else uses the device, or pick a smaller base model."
    with memory_errors(f"loading the base model “{found.name}”", hint), quiet_libraries():
        family = family_of(found)
        pipe = family.pipeline(family.load()).to(device.kind, compute_dtype(device))
    pipe.set_progress_bar_config(disable=True)
    return LoadedBase(
        found=found,
        pipe=pipe,
        stack=Stack(pipe, found.name),
        scheduler_config={**pipe.scheduler.config, "_class_name": type(pipe.scheduler).__name__},
    )


def _identity(found: FoundBase) -> Identity:
    """Where the base is and in what state: a base whose files have changed is another one."""
    place = Path(found.path_or_id)
    files = [place] if found.layout == "file" else []
    if found.layout == "folder":
        files = [*place.glob("*.json"), *place.glob("*/*.json"), *place.glob("*/*.safetensors")]
    states = ((file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in files)
    return found.path_or_id, frozenset(states)


def _free_memory() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
