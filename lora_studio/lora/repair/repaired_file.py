"""New LoRA files made of old ones: the repairs of a RepairRequest, and the merging of several files.

Layers come one after the other; only what is written is kept, and no change of a weight is made whole for
longer than its layer takes.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from lora_studio.errors import BrokenFile, ConfigError, FamilyMismatch, ModelFileError
from lora_studio.events import Emit, ShouldStop, ignore, never_stop
from lora_studio.formatting import counted
from lora_studio.lora.file.alphas import HEADER_KEY
from lora_studio.lora.file.contents import FULL, LORA, shown
from lora_studio.lora.file.keys import BIAS, DIFF, DORA, MID, SET
from lora_studio.lora.file.spellings import COMFYUI, DIFFUSERS, KOHYA, canonical_name
from lora_studio.lora.inspection.layer_strength import has_finite_numbers
from lora_studio.lora.inspection.private_metadata import without_private
from lora_studio.lora.network.kinds import is_finite
from lora_studio.lora.network.weights import LayerWeights, OpenLayers, read_tensors
from lora_studio.lora.repair.fused_spelling import put_together
from lora_studio.lora.repair.low_rank import low_rank_of, resized, scaled
from lora_studio.lora.repair.merge_layers import merged
from lora_studio.lora.repair.new_file import (
    DTYPES,
    NewFile,
    RepairSource,
    WrittenLayer,
    add_layer,
    cast,
    differ_in_fused,
)
from lora_studio.lora.repair.new_metadata import copy_with_metadata
from lora_studio.lora.repair.repair_budget import RepairStopped, check_work, paced
from lora_studio.lora.repair.repair_request import MOST_MERGE_RATIO, RepairRequest, check_merged
from lora_studio.lora.repair.tensor_spool import TensorSpool
from lora_studio.parsing.plain_text import plain_name

HASHES = ("sshs_model_hash", "sshs_legacy_hash", "modelspec.hash_sha256")
TITLE = "modelspec.title"
REPAIRS = "lora_studio_repairs"
"""The key of the metadata that says what was done to a file."""
LONGEST_REPAIRS = 500
MOST_NOTES = 5
BROKEN = "{} of {} is left out: it has numbers that are NaN or infinite."
PLAIN_MODULE = "networks.lora"
"""sd-scripts' name of what trains a LoRA."""


def repair_file(
    path: Path,
    request: RepairRequest,
    target: Path,
    title: str = "",
    emit: Emit = ignore,
    should_stop: ShouldStop = never_stop,
) -> list[str] | None:
    """Write a repaired copy of a file to `target`, with `title` if one is given. Returns sentences on what
    was left out; None when it was stopped, which writes nothing. Emits PhaseAdvanced, and Noted where it
    takes long. Raises ConfigError for a repair that isn't defined for a kind or a family, ModelFileError,
    StoreError where `target` exists or can't be written."""
    if request == RepairRequest():
        raise ConfigError("No repair was asked for.", "Name at least one.", field="fix")
    source = RepairSource.read(path)
    if request == RepairRequest(strip_private=True):
        kept = without_private(source.metadata)
        copy_with_metadata(path, {**kept, **({TITLE: title} if title else {})}, target)
        return []
    all_written = source.written_layers(for_makers=request.spelling in (KOHYA, COMFYUI))
    seconds = check_work((source.members_of(one) for one in all_written), request, target)
    with _new_file(target) as new, OpenLayers.of(path, split_fused=False) as file:
        for written in paced(all_written, seconds, emit, should_stop):
            with layer_errors(path, written.name):
                if layers := _sound_layers(new, file, written, request):
                    layer = _as_one(written.name, layers, request)
                    add_layer(new, source, written, _resized(written.name, layer, request), request)
        _copy_others(new, source, request)
        _write(new, _metadata(source, new, request, title))
        return _told(new)
    return None


def merge_files(
    sources: Sequence[tuple[Path, float]],
    request: RepairRequest,
    target: Path,
    title: str = "",
    emit: Emit = ignore,
    should_stop: ShouldStop = never_stop,
) -> list[str] | None:
    """Write one file whose change is the sum of several files' changes, each times its ratio: exact, or with
    `new_rank` or `dynamic_method` by SVD. Returns, emits and raises as `repair_file`; FamilyMismatch for
    files of different families."""
    check_merged(len(sources))
    if not all(math.isfinite(ratio) and abs(ratio) <= MOST_MERGE_RATIO for _, ratio in sources):
        raise ConfigError("merge: a ratio is no number from -100 to 100.", field="merge")
    read = [RepairSource.read(path) for path, _ in sources]
    split_fused = differ_in_fused(read)
    if split_fused:
        read = [RepairSource.read(path, split_fused=True) for path, _ in sources]
    if len({source.family for source in read if source.family}) > 1:
        raise FamilyMismatch(
            "The files were made for different families of base models.", "Merge those of one family."
        )
    if not request.spelling and len({source.spelling for source in read}) > 1:
        # A program that knows one spelling by its first name passes over all others.
        request = replace(request, spelling=KOHYA)
    places = _places(read, request)
    summands = (
        [layer for index, one in having for layer in read[index].members_of(one)] for having in places
    )
    seconds = check_work(summands, request, target)
    with _new_file(target) as new, contextlib.ExitStack() as stack:
        new.notes += [note for source in read for note in source.left_out_of_merges()]
        files = [stack.enter_context(OpenLayers.of(path, split_fused=split_fused)) for path, _ in sources]
        for having in paced(places, seconds, emit, should_stop):
            first, written = having[0]
            with layer_errors(read[first].path, written.name):
                layers = [
                    (sources[index][1], _as_one(one.name, found, request))
                    for index, one in having
                    if (found := _sound_layers(new, files[index], one, request))
                ]
                if layers:
                    add_layer(new, read[first], written, merged(written.name, layers, request), request)
        _write(new, _metadata(read[0], new, request, title, is_merged=True))
        return _told(new)
    return None


@contextlib.contextmanager
def _new_file(target: Path) -> Iterator[NewFile]:
    """A file in the making, without gradients; one that is stopped leaves the block."""
    with contextlib.suppress(RepairStopped), torch.no_grad(), TensorSpool.beside(target) as tensors:
        yield NewFile(tensors=tensors)


def _places(read: Sequence[RepairSource], request: RepairRequest) -> list[list[tuple[int, WrittenLayer]]]:
    """The layers of the new file, each as all layers of all files that are it: the file's number, and its
    layer. A file may have a layer twice, by two names."""
    for_makers = len({source.has_parts for source in read}) > 1 or request.spelling in (KOHYA, COMFYUI)
    family = next((source.family for source in read if source.family), "")
    places: dict[str, list[tuple[int, WrittenLayer]]] = {}
    for index, source in enumerate(read):
        for one in source.written_layers(for_makers=for_makers):
            places.setdefault(canonical_name(one.name, family), []).append((index, one))
    return list(places.values())


@contextlib.contextmanager
def layer_errors(path: Path, name: str) -> Iterator[None]:
    """Turn the libraries' errors on a layer's tensors into a sentence. Raises BrokenFile."""
    try:
        yield
    except (RuntimeError, ValueError, IndexError, KeyError, ZeroDivisionError) as error:
        raise BrokenFile(
            f"{plain_name(path)} has a layer that can't be worked on, {shown(name)}: its tensors don't go "
            "together, or are in a number format without arithmetic.",
            "Get the file again, or train it again.",
            path=path,
        ) from error


def _sound_layers(
    new: NewFile, file: OpenLayers, written: WrittenLayer, request: RepairRequest
) -> dict[str, LayerWeights]:
    """The layers of a file that are written as one, without those that have NaN or infinite numbers. Raises
    BrokenFile where that isn't asked for."""
    layers = {name: file.read(name) for name in written.members}
    for name in [name for name, layer in layers.items() if not has_finite_numbers(layer)]:
        if not request.drop_broken:
            raise BrokenFile(
                f"{plain_name(file.path)} has NaN or infinite numbers in {shown(name)}.",
                "With drop_broken, such layers are left out.",
                path=file.path,
            )
        new.notes.append(BROKEN.format(shown(name), plain_name(file.path)))
        del layers[name]
    return layers


def _as_one(whole: str, layers: Mapping[str, LayerWeights], request: RepairRequest) -> LayerWeights:
    """The makers' layer of several of diffusers', which are made LoRAs where ranks are worked on anyway."""
    if layers.keys() == {whole}:
        return layers[whole]
    resizes = request.resizes and whole not in layers
    made = [(name, _factored(name, one) if resizes else one) for name, one in layers.items()]
    return put_together(whole, made)


def _factored(name: str, layer: LayerWeights) -> LayerWeights:
    if layer.kind == LORA:
        return layer
    change = low_rank_of(name, layer)
    return LayerWeights(kind=LORA, parts=change.parts(), alpha=scaled(layer) * change.rank)


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
    change = resized(name, plain, request)
    # sd-scripts keeps alpha / rank, so that weights stay of the size they were trained at.
    return LayerWeights(kind=LORA, parts={**change.parts(), **beside}, alpha=scaled(plain) * change.rank)


def _copy_others(new: NewFile, source: RepairSource, request: RepairRequest) -> None:
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
        is_cast = is_cast and is_finite(tensor)
        new.tensors.add(key, cast(key, tensor, DTYPES[request.save_precision]) if is_cast else tensor)


def _metadata(
    source: RepairSource, new: NewFile, request: RepairRequest, title: str, *, is_merged: bool = False
) -> dict[str, str]:
    """The first file's metadata, true of the new one: without hashes, without alphas that are tensors now,
    and without the kind and the options of a network that has become a LoRA."""
    metadata = {key: value for key, value in source.metadata.items() if key not in (*HASHES, HEADER_KEY)}
    if request.strip_private:
        metadata = without_private(metadata)
    if new.dims and (request.resizes or is_merged):
        metadata["ss_network_dim"] = _only(new.dims)
        metadata["ss_network_alpha"] = _only(new.alphas)
    if new.is_plain and (request.resizes or is_merged) and "ss_network_module" in metadata:
        metadata["ss_network_module"] = PLAIN_MODULE
        metadata.pop("ss_network_args", None)
    if title:
        metadata[TITLE] = title
    done = f"merge {request.words()}".strip() if is_merged else request.words()
    before = source.metadata.get(REPAIRS, "")
    return {**metadata, REPAIRS: f"{before}; {done}".removeprefix("; ")[-LONGEST_REPAIRS:]}


def _only(numbers: set[int] | set[float]) -> str:
    """The one number, or sd-scripts' word for several."""
    return f"{next(iter(numbers)):g}" if len(numbers) == 1 else "Dynamic"


def _write(new: NewFile, metadata: Mapping[str, str]) -> None:
    """Write the new file whole, where no file has its name. Raises StoreError, ModelFileError."""
    if not new.layers:
        raise ModelFileError("No layer would be left in the new file.", "Ask for less.")
    new.tensors.write(metadata)


def _told(new: NewFile) -> list[str]:
    """The first notes, and how many more there are."""
    rest = len(new.notes) - MOST_NOTES
    return [*new.notes[:MOST_NOTES], *([f"{rest} more layers or tensors are left out."] if rest > 0 else [])]
