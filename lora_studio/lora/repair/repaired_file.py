"""New LoRA files made of old ones: the repairs of a RepairRequest, and the merging of several files.

Layers come one after the other; only what is written is kept, and no change of a weight is made whole for
longer than its layer takes.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from lora_studio.errors import (
    BrokenFile,
    ConfigError,
    FamilyMismatch,
    ModelFileError,
    StoreError,
    UnknownFormat,
)
from lora_studio.files import check_room, creating, disk_errors
from lora_studio.formatting import counted
from lora_studio.lora.file.alphas import HEADER_KEY
from lora_studio.lora.file.contents import FULL, LORA, TITLES, Contents, FileLayer, contents_of, shown
from lora_studio.lora.file.identify import family_of_layers
from lora_studio.lora.file.keys import ALPHA, BIAS, DIFF, DORA, DOWN, MID, SET, UP
from lora_studio.lora.file.spellings import COMFYUI, DIFFUSERS, SPELLINGS, canonical_name, spelled_as
from lora_studio.lora.file.tensor_table import Tensors, read_tensor_table
from lora_studio.lora.inspection.file_report import family_from_words
from lora_studio.lora.inspection.layer_strength import is_finite
from lora_studio.lora.inspection.private_metadata import without_private
from lora_studio.lora.network.weights import LayerWeights, OpenLayers, read_tensors
from lora_studio.lora.repair.alpha_forms import folded, with_alpha
from lora_studio.lora.repair.low_rank import low_rank_of, scaled, truncated
from lora_studio.lora.repair.merge_layers import merged
from lora_studio.lora.repair.new_metadata import copy_with_metadata
from lora_studio.lora.repair.repair_request import FOLDED, MOST_MERGE_RATIO, RepairRequest
from lora_studio.parsing.plain_text import plain_name

DTYPES = {"float": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
MATRICES = {DOWN: "lora_A.weight", UP: "lora_B.weight"}
HASHES = ("sshs_model_hash", "sshs_legacy_hash", "modelspec.hash_sha256")
TITLE = "modelspec.title"
REPAIRS = "lora_studio_repairs"
"""The key of the metadata that says what was done to a file."""
LONGEST_REPAIRS = 500
MOST_MERGED = 16
MOST_NOTES = 5
BROKEN = "{} is left out: it has numbers that are NaN or infinite."


@dataclass(kw_only=True)
class _NewFile:
    """Tensors to be written, and sentences on what is left out."""

    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    layers: int = 0
    dims: set[int] = field(default_factory=set)
    alphas: set[float] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class _Source:
    """A file to be read: its place, metadata, table, contents and family."""

    path: Path
    metadata: Mapping[str, str]
    table: Tensors
    contents: Contents
    family: str

    @classmethod
    def read(cls, path: Path, *, split_fused: bool) -> _Source:
        metadata, table, _ = read_tensor_table(path)
        contents = contents_of(table, split_fused=split_fused)
        if not contents.layers:
            raise UnknownFormat(f"{plain_name(path)} has no layer that can be used.", path=path)
        family = family_from_words(metadata) or family_of_layers(contents)
        return cls(path=path, metadata=metadata, table=table, contents=contents, family=family)


@torch.no_grad()
def repair_file(path: Path, request: RepairRequest, target: Path, title: str = "") -> list[str]:
    """Write a repaired copy of a file to `target`, with `title` if one is given. Returns sentences on what
    was left out. Raises ConfigError for a repair that isn't defined for a kind or a family, ModelFileError,
    StoreError where `target` exists or can't be written."""
    if request == RepairRequest():
        raise ConfigError("No repair was asked for.", "Name at least one.", field="fix")
    source, new = _Source.read(path, split_fused=request.spelling == DIFFUSERS), _NewFile()
    if request == RepairRequest(strip_private=True):
        kept = without_private(source.metadata)
        copy_with_metadata(path, {**kept, **({TITLE: title} if title else {})}, target)
        return []
    with OpenLayers.of(path, split_fused=request.spelling == DIFFUSERS) as file:
        for name in file.contents.layers:
            with layer_errors(path, name):
                layer = file.read(name)
                if request.drop_broken and not _is_finite(layer):
                    new.notes.append(BROKEN.format(shown(name)))
                else:
                    _add(new, source, name, _resized(name, layer, request), request)
    _copy_others(new, source, request)
    _write(new, _metadata(source, new, request, title), target)
    return _told(new)


@torch.no_grad()
def merge_files(
    sources: Sequence[tuple[Path, float]], request: RepairRequest, target: Path, title: str = ""
) -> list[str]:
    """Write one file whose change is the sum of several files' changes, each times its ratio: exact, or with
    `new_rank` or `dynamic_method` by SVD. Raises as `repair_file`; FamilyMismatch for files of different
    families."""
    if not 2 <= len(sources) <= MOST_MERGED:
        raise ConfigError(f"2 to {MOST_MERGED} files are merged.", "Name as many.", field="merge")
    if not all(math.isfinite(ratio) and abs(ratio) <= MOST_MERGE_RATIO for _, ratio in sources):
        raise ConfigError("merge: a ratio is no number from -100 to 100.", field="merge")
    read = [_Source.read(path, split_fused=True) for path, _ in sources]
    if len({source.family for source in read if source.family}) > 1:
        raise FamilyMismatch(
            "The files were made for different families of base models.", "Merge those of one family."
        )
    new = _NewFile()
    places = [{canonical_name(name): name for name in source.contents.layers} for source in read]
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(OpenLayers.of(path)) for path, _ in sources]
        for canonical in dict.fromkeys(name for place in places for name in place):
            having = [(i, place[canonical]) for i, place in enumerate(places) if canonical in place]
            layers = [(sources[i][1], files[i].read(name)) for i, name in having]
            first, name = having[0]
            with layer_errors(read[first].path, name):
                if request.drop_broken and not all(_is_finite(layer) for _, layer in layers):
                    new.notes.append(BROKEN.format(shown(canonical)))
                else:
                    _add(new, read[first], name, merged(name, layers, request), request)
    _write(new, _metadata(read[0], new, request, title, is_merged=True), target)
    return _told(new)


@contextlib.contextmanager
def layer_errors(path: Path, name: str) -> Iterator[None]:
    """Turn the libraries' errors on a layer's tensors into a sentence. Raises BrokenFile."""
    try:
        yield
    except (RuntimeError, ValueError, IndexError, KeyError, ZeroDivisionError) as error:
        raise BrokenFile(
            f"{plain_name(path)} has a layer that can't be worked on, {shown(name)}: its tensors don't go "
            "together, aren't finite, or are in a number format without arithmetic.",
            "With drop_broken, layers that aren't finite are left out.",
            path=path,
        ) from error


def _resized(name: str, layer: LayerWeights, request: RepairRequest) -> LayerWeights:
    """The layer with fewer ranks, where that is asked for; one that has no ranks stays. Raises ConfigError
    for kinds whose change depends on the base."""
    is_dora = layer.kind == LORA and DORA in layer.parts and MID not in layer.parts
    without_ranks = layer.kind == FULL and layer.parts.get(DIFF, torch.empty(0)).dim() < 2
    if not request.resizes or (without_ranks and SET not in layer.parts):
        return layer
    beside = {
        part: layer.parts[part] for part in (BIAS, *((DORA,) if is_dora else ())) if part in layer.parts
    }
    plain = LayerWeights(
        kind=layer.kind,
        parts={part: tensor for part, tensor in layer.parts.items() if part not in beside},
        alpha=layer.alpha,
    )
    change = truncated(low_rank_of(name, plain), request)
    # sd-scripts keeps alpha / rank, so that weights stay of the size they were trained at.
    return LayerWeights(kind=LORA, parts={**change.parts(), **beside}, alpha=scaled(plain) * change.rank)


def _add(new: _NewFile, source: _Source, name: str, layer: LayerWeights, request: RepairRequest) -> None:
    """Put a layer into the new file, in the spelling and the number format that are asked for."""
    place = source.contents.layers[name]
    to_diffusers = request.spelling == DIFFUSERS
    if to_diffusers and (layer.kind != LORA or {DORA, MID, BIAS} & layer.parts.keys()):
        rest = " with more tensors" if layer.kind == LORA else ""
        raise ConfigError(
            "diffusers' spelling is defined for the two factors of a LoRA only; "
            f"{shown(place.spelled)} is {TITLES[layer.kind]}{rest}.",
            "Take the spelling comfyui or kohya, or resize it into a LoRA first (new_rank).",
            field="spelling",
        )
    spelled = place.spelled if place.third is None else name
    if request.spelling:
        spelled = spelled_as(request.spelling, name, spelled, source.family)
    if not spelled:
        raise ConfigError(
            f"{shown(place.spelled)} has no name in the spelling {request.spelling} here.",
            f"Keep the names as they are, or take another of: {', '.join(SPELLINGS)}.",
            field="spelling",
        )
    made = folded(layer) if to_diffusers or request.alpha == FOLDED else with_alpha(layer, request.alpha)
    new.layers += 1
    if made.dim:
        new.dims.add(made.dim)
        new.alphas.add(made.alpha or float(made.dim))
    in_pairs = request.spelling in (DIFFUSERS, COMFYUI) or (
        not request.spelling and "lora_A" in place.keys.get(DOWN, "")
    )
    dtype = _dtype(source, place, request)
    for part, tensor in made.parts.items():
        key = f"{spelled}.{MATRICES.get(part, part) if in_pairs else part}"
        new.tensors[key] = _cast(key, tensor, dtype)
    if made.alpha is not None:
        new.tensors[f"{spelled}.{ALPHA}"] = torch.tensor(float(made.alpha))


def _dtype(source: _Source, place: FileLayer, request: RepairRequest) -> torch.dtype:
    """The number format that is asked for, else the layer's own; 16 bit for a layer of 8."""
    if request.save_precision:
        return DTYPES[request.save_precision]
    largest = max(place.shapes, key=lambda part: math.prod(place.shapes[part]))
    number_format = source.table[place.keys[largest]][0]
    return {"F64": torch.float64, "F32": torch.float32, "BF16": torch.bfloat16}.get(
        number_format, torch.float16
    )


def _cast(key: str, tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    if not tensor.is_floating_point():
        return tensor.contiguous()
    made = tensor.to(dtype).contiguous()
    if is_finite(tensor) and not is_finite(made):
        raise ConfigError(
            f"{shown(key)} has numbers that are infinite in fp16.",
            "Take bf16 or float.",
            field="save_precision",
        )
    return made


def _copy_others(new: _NewFile, source: _Source, request: RepairRequest) -> None:
    """Take over tensors that are no layer's: bundled embeddings, and what has no meaning here. A new spelling
    has no names for the latter."""
    embeddings = [key for parts in source.contents.embeddings.values() for key, _ in parts.values()]
    used = {key for layer in source.contents.layers.values() for key in layer.keys.values()}
    others = [key for key in source.table if key not in used and key not in embeddings]
    kept = embeddings if request.spelling != DIFFUSERS else []
    kept = [*kept, *(others if not request.spelling else [])]
    if gone := (len(embeddings) + len(others)) - len(kept):
        new.notes.append(f"{counted(gone, 'tensor is', 'tensors are')} left out: no layer's.")
    copied = read_tensors(source.path, kept) if kept else {}
    for key, tensor in copied.items():
        is_cast = request.save_precision and tensor.is_floating_point() and tensor.itemsize > 1
        new.tensors[key] = _cast(key, tensor, DTYPES[request.save_precision]) if is_cast else tensor


def _metadata(
    source: _Source, new: _NewFile, request: RepairRequest, title: str, *, is_merged: bool = False
) -> dict[str, str]:
    """The first file's metadata, true of the new one: without hashes and without alphas that are tensors
    now."""
    metadata = {key: value for key, value in source.metadata.items() if key not in (*HASHES, HEADER_KEY)}
    if request.strip_private:
        metadata = without_private(metadata)
    if new.dims and (request.resizes or is_merged):
        metadata["ss_network_dim"] = _only(new.dims)
        metadata["ss_network_alpha"] = _only(new.alphas)
    if title:
        metadata[TITLE] = title
    done = f"merge {request.words()}".strip() if is_merged else request.words()
    before = source.metadata.get(REPAIRS, "")
    return {**metadata, REPAIRS: f"{before}; {done}".removeprefix("; ")[-LONGEST_REPAIRS:]}


def _only(numbers: set[int] | set[float]) -> str:
    """The one number, or sd-scripts' word for several."""
    return f"{next(iter(numbers)):g}" if len(numbers) == 1 else "Dynamic"


def _write(new: _NewFile, metadata: Mapping[str, str], target: Path) -> None:
    """Write the new file whole, where no file has its name. Raises StoreError, ModelFileError."""
    if not new.layers:
        raise ModelFileError("No layer would be left in the new file.", "Ask for less.")
    wanted = sum(tensor.numel() * tensor.itemsize for tensor in new.tensors.values())
    check_room(target, target.name, wanted)
    try:
        with disk_errors(plain_name(target), "written"), creating(target) as unfinished:
            save_file(new.tensors, unfinished, metadata=dict(metadata))
    except SafetensorError as error:
        raise StoreError(f"{plain_name(target)} can't be written: {error}.") from error


def _told(new: _NewFile) -> list[str]:
    """The first notes, and how many more there are."""
    rest = len(new.notes) - MOST_NOTES
    return [*new.notes[:MOST_NOTES], *([f"{rest} more layers or tensors are left out."] if rest > 0 else [])]


def _is_finite(layer: LayerWeights) -> bool:
    alpha_is_finite = layer.alpha is None or math.isfinite(layer.alpha)
    return alpha_is_finite and all(is_finite(tensor) for tensor in layer.parts.values())
