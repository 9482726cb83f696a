"""Base models from folder, file or hub, as diffusers reads them: weights stay in their files, mapped into
memory, in the number format they have there."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch.overrides import TorchFunctionMode

from lora_studio.catalog import FAMILIES
from lora_studio.errors import BrokenFile, ModelFileError, OutOfMemory
from lora_studio.families.base_files.found_base import FoundBase
from lora_studio.families.base_files.hub import HALF, LEFT_OUT, cached, fetch, variant_of
from lora_studio.families.base_files.usual_parts import USUAL, config_folder, usual_tokenizers
from lora_studio.families.weights.block_swap import lies_in_host_memory
from lora_studio.families.weights.mmap_weights import MappedFiles
from lora_studio.families.weights.silence_libraries import quiet_libraries
from lora_studio.lora.file.lora_files import read_tensor_table

log = logging.getLogger(__name__)

INITIALISING = ("torch.nn.init", "transformers.initialization")
"""Modules with the functions that give weights their first numbers."""
STORED = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def load_pipeline(kind: Any, found: FoundBase, without: Mapping[str, Any]) -> Any:
    """The whole base model as an object of the diffusers pipeline class `kind`; `without` is passed on.
    Raises ModelFileError (missing, or not to be had offline), BrokenFile, OutOfMemory."""
    load = {"file": _load_file, "folder": _load_folder, "hub": _load_from_hub}[found.layout]
    try:
        with quiet_libraries(), WithoutInitialNumbers():
            return load(kind, found, without)
    except MemoryError as error:
        raise OutOfMemory(
            f"There is not enough memory to load the base model {found.name}.", "Close other programs."
        ) from error
    except (OSError, ValueError, RuntimeError, KeyError, AttributeError, SafetensorError) as error:
        log.debug("loading %s", found.path_or_id, exc_info=True)
        raise _load_error(found, error) from error


class WithoutInitialNumbers(TorchFunctionMode):
    """Weights without memory yet are given no random numbers inside the block, which torch would work out
    in Python, weight by weight."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        named = dict(kwargs or {})
        weight = args[0] if args else named.get("tensor")
        if getattr(func, "__module__", "") in INITIALISING and weight is not None and weight.is_meta:
            return weight
        return func(*args, **named)


@torch.no_grad()
def place_model(model: Any, device: str, dtype: torch.dtype, *, read_ahead: bool = True) -> None:
    """Move a model to the device. What autocast would cast at each use is held in `dtype` if it is not
    trained, and so are RMS norms; other norms, embeddings and trained weights are held in 32 bit. Memory is
    needed once, not twice: each weight's own pages are given back as soon as it is converted. `read_ahead`:
    read what stays in its file now, instead of at its first use."""
    files = MappedFiles()
    for module in model.modules():
        # torch's RMS norm has its fast form only where weight and input have one format.
        heavy = isinstance(module, torch.nn.Linear | torch.nn.Conv2d | torch.nn.RMSNorm)
        for weight in module.parameters(recurse=False):
            wanted = dtype if heavy and not module.weight.requires_grad else torch.float32
            before = weight.data
            wanted = before.dtype if before.dtype.itemsize == 1 else wanted  # held in 8 bits
            if before.dtype != wanted or (read_ahead and not isinstance(module, torch.nn.Embedding)):
                files.read_ahead(before)  # of an embedding, only a few rows are ever used
            waits = lies_in_host_memory(module) and not weight.requires_grad
            weight.data = before.to("cpu" if waits else device, wanted)
            if weight.data.data_ptr() != before.data_ptr():
                files.give_back(before)
        for name, buffer in module.named_buffers(recurse=False):
            keeps = not buffer.is_floating_point() or getattr(module, "keeps_formats", False)
            exact = buffer.dtype if keeps else torch.float32
            module._buffers[name] = buffer.to("cpu" if lies_in_host_memory(module) else device, exact)


def read_model(model: Any) -> None:
    """Read what a model still has in its files in one go: faster than page by page in the first step."""
    files = MappedFiles()
    for weight in model.parameters():
        files.read_ahead(weight.data)


def free_model(model: Any) -> None:
    """Give the memory of a model's files back, whoever else uses the same files."""
    files = MappedFiles()
    for weight in model.parameters():
        files.give_back(weight.data)


def _load_folder(kind: Any, found: FoundBase, without: Mapping[str, Any]) -> Any:
    folder = Path(found.path_or_id)
    variant = variant_of(folder)
    return kind.from_pretrained(
        folder,
        dtype=_stored_in_folder(folder, variant),
        variant=variant,
        local_files_only=True,
        use_safetensors=True,  # else a .bin is unpickled where there is nothing else
        **without,
    )


def _load_file(kind: Any, found: FoundBase, without: Mapping[str, Any]) -> Any:
    """A checkpoint holds the weights only."""
    return kind.from_single_file(
        found.path_or_id,
        dtype=_stored(Path(found.path_or_id)),
        local_files_only=True,
        config=str(config_folder(found)),
        **usual_tokenizers(found),
        **without,
    )


def _load_from_hub(kind: Any, found: FoundBase, without: Mapping[str, Any]) -> Any:
    place = fetch(found.path_or_id)
    load = _load_file if place is not None and place.is_file() else _load_folder
    return load(kind, replace(found, path_or_id=str(place)), without)


def _stored_in_folder(folder: Path, variant: str | None) -> dict[str, torch.dtype]:
    """The number format of each part that has one for all its weights; 32 bit for the others."""
    found: dict[str, torch.dtype] = {"default": torch.float32}
    for part in sorted(path for path in folder.iterdir() if path.is_dir()):
        files = [
            file for file in part.glob("*.safetensors") if (variant is None) == (f".{HALF}" not in file.name)
        ]
        formats = {_stored(file) for file in files}
        if len(formats) == 1:
            found[part.name] = formats.pop()
    return found


def _stored(file: Path) -> torch.dtype:
    """The number format of all numbers in a file; 32 bit when there are several."""
    try:
        formats = _formats(read_tensor_table(file)[1].values())
    except ModelFileError:
        return torch.float32  # the library that reads it will say what is wrong
    return STORED.get(formats.pop(), torch.float32) if len(formats) == 1 else torch.float32


def _formats(tensors: Iterable[tuple[str, tuple[int, ...]]]) -> set[str]:
    return {dtype for dtype, _ in tensors if not dtype.startswith(("I", "U", "BOOL"))}


def weight_files(found: FoundBase) -> list[Path]:
    """The files that a base's weights lie in; of a hub id, those that were fetched."""
    if found.layout == "file":
        return [Path(found.path_or_id)]
    folder = cached(found.path_or_id) if found.layout == "hub" else Path(found.path_or_id)
    if folder is None or folder.is_file():
        return [folder] if folder else []
    variant = variant_of(folder)
    every = (file for file in sorted(folder.glob("*/*.safetensors")) if file.parent.name not in LEFT_OUT)
    return [file for file in every if (variant is None) == (f".{HALF}" not in file.name)]


def count_weights(files: Iterable[Path]) -> int:
    """The count of numbers in the files; a damaged file counts as empty."""
    count = 0
    for file in files:
        with contextlib.suppress(ModelFileError):
            count += sum(math.prod(shape) for _, shape in read_tensor_table(file)[1].values())
    return count


def _load_error(found: FoundBase, error: Exception) -> ModelFileError:
    hint = "Get its files again."
    if found.layout == "file" and config_folder(found).is_relative_to(USUAL):
        hint += (
            f" If it isn't built like the usual {FAMILIES[found.family]}, put its configuration beside it, "
            "in a folder of the same name without .safetensors: a diffusers copy of it, even without weights."
        )
    return BrokenFile(
        f"The base model {found.name} can't be loaded: {str(error).strip().splitlines()[0][:200]}",
        hint,
        path=found.path_or_id,
    )
