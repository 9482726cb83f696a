"""The place of a base model and its family, found without loading it (and without torch)."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lora_studio.catalog import (
    ANIMA,
    BASES,
    CHROMA,
    EMBEDDED,
    FAMILIES,
    FLUX,
    KLEIN,
    SD1,
    SDXL,
    ZIMAGE,
    Base,
    family_from_text_width,
    family_title,
)
from lora_studio.errors import BrokenFile, FamilyMismatch, ModelFileError, UnknownFormat
from lora_studio.families.base_files.base_facts import (
    DENOISERS,
    INDEX,
    LATENT_CHANNELS,
    OTHER_CONFIGS,
    V_PREDICTION,
    BaseFacts,
    facts_of_configs,
    facts_of_file,
    read_config,
)
from lora_studio.families.base_files.found_base import FoundBase
from lora_studio.families.base_files.hub import INDEXES, cached, cached_index, explain, fetch_index, split_id
from lora_studio.lora.file.identify import Tensors, other_architecture
from lora_studio.lora.file.lora_files import read_header, read_tensor_table
from lora_studio.settings import Settings

HUB_ID = re.compile(
    r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}(?:/[A-Za-z0-9][\w. ()+-]{0,195}\.safetensors)?"
)
"""A repository of the Hub, or a checkpoint file at its top."""
TEXT_KEY = re.compile(r"model\.diffusion_model\..*\.attn2\.to_k\.weight")
PIPELINES = {
    **{"StableDiffusionPipeline": "", "StableDiffusionXLPipeline": SDXL, "ZImagePipeline": ZIMAGE},
    **{"ZImageImg2ImgPipeline": ZIMAGE, "ZImageInpaintPipeline": ZIMAGE, "AnimaModularPipeline": ANIMA},
    **{"ChromaPipeline": CHROMA, "ChromaImg2ImgPipeline": CHROMA, "ChromaInpaintPipeline": CHROMA},
    **{"FluxPipeline": FLUX, "FluxImg2ImgPipeline": FLUX, "FluxInpaintPipeline": FLUX},
    **{"Flux2KleinPipeline": KLEIN, "Flux2KleinInpaintPipeline": KLEIN},
}
"""diffusers' pipeline classes and the family of each, empty where the width of the text tells it."""
TEXT_ENCODERS = {"cond_stage_model.": "", "conditioner.embedders.1.": SDXL}
"""Beginnings of a text encoder's keys, with the family; empty where the width of the text tells it."""

WEIGHT_FILES = {".safetensors", ".ckpt", ".pt"}

FileStates = frozenset[tuple[str, int, int]]
"""Name, time of the last change in nanoseconds and size of each file."""


def find_base(name: str, settings: Settings | None = None) -> FoundBase:
    """Look a base model up: a catalog name, a diffusers folder, a .safetensors file, something in
    models/base, or a hub id, in this order. Raises ModelFileError (missing), UnknownFormat, BrokenFile,
    FamilyMismatch."""
    settings = settings or Settings.from_environment()
    entry = BASES.get(name) or next((e for e in BASES.values() if e.source and e.source == name), None)
    if entry is not None and not entry.source:
        folder = settings.embedded(entry.name)
        if not (folder / INDEX).is_file():
            raise ModelFileError(
                f"The embedded base model is missing from {folder}.",
                f"Get the whole repository again; models/{folder.name} belongs to it.",
                path=folder,
            )
        return _found_folder(name, folder, entry)
    for path in _places(name, settings):
        if path.is_dir():
            return _found_folder(name, path, entry or _embedded_at(path, settings))
        if path.is_file():
            return _found_file(name, path, entry)
    hub_id = entry.source if entry else name
    if not HUB_ID.fullmatch(hub_id) or (hub_id.count("/") == 1 and Path(name).suffix in WEIGHT_FILES):
        raise ModelFileError(
            f"There is no base model {name[:100]!r}: no catalog name, folder, file or hub id.",
            f"The catalog has: {', '.join(BASES)}. Folders and .safetensors files are looked up as given and "
            "in models/base.",
            path=name,
        )
    if split_id(hub_id)[1]:
        if (file := cached(hub_id)) is not None:
            return _found_file(name, file, entry)
        family = entry.family if entry else ""
        return FoundBase(name=name, path_or_id=hub_id, family=family, layout="hub", entry=entry)
    return FoundBase(
        name=name,
        path_or_id=hub_id,
        family=entry.family if entry else _cached_family(hub_id),
        layout="hub",
        entry=entry,
        facts=facts_of_configs(lambda file: _cached_config(hub_id, file)),
    )


def known_base(name: str, settings: Settings | None = None) -> FoundBase:
    """The base that `find_base` finds; a hub id that was never fetched is asked for its small files, so that
    its defaults are known. Raises ModelFileError and its kin."""
    found = find_base(name, settings)
    return found if found.family else ask_hub(found)


def _places(name: str, settings: Settings) -> list[Path]:
    """The places where something of this name may lie. A catalog name never means a folder in the working
    directory; the repository of a hub id may lie in `bases` by its last name, other paths may not: another
    model of a missing file's name is not that file."""
    bases = settings.bases
    local = [bases / name, bases / f"{name}.safetensors"]
    if HUB_ID.fullmatch(name) and Path(name).suffix not in WEIGHT_FILES:
        local.append(bases / name.split("/")[-1])
    places = local if name in BASES else [Path(os.path.expanduser(name)), *local]
    return [path for path in places if _is_there(path)]


def _embedded_at(path: Path, settings: Settings) -> Base | None:
    """The embedded base model whose folder this is."""
    place = path.resolve()
    return next((one for one in EMBEDDED if settings.embedded(one.name).resolve() == place), None)


def _is_there(path: Path) -> bool:
    """Whether a path exists; False also for what can't be a path, such as a name that is too long."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def file_states(found: FoundBase) -> FileStates:
    """The states of a base's files, which differ after one of them has changed; empty for a hub id."""
    place = Path(found.path_or_id)
    files = [place] if found.layout == "file" else []
    if found.layout == "folder":
        patterns = ("*.json", "*/*.json", "*/*.txt", "*/*.safetensors")
        files = [file for pattern in patterns for file in place.glob(pattern)]
    return frozenset((file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in files)


def ask_hub(found: FoundBase) -> FoundBase:
    """The found base with its family, by a file of its repository. Raises ModelFileError, FamilyMismatch."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    repository, checkpoint = split_id(found.path_or_id)
    if checkpoint:
        return _ask_for_header(found, repository, checkpoint)
    try:
        index = fetch_index(found.path_or_id)
        parts = _read_json(index, index.parent)
        names = [*(f"{part}/config.json" for part in DENOISERS if part in parts), *OTHER_CONFIGS]
        files = {name: Path(hf_hub_download(found.path_or_id, name)) for name in names}
    except (OSError, ValueError, EntryNotFoundError) as error:  # the library's errors are all one of these
        raise explain(found.path_or_id, error) from error
    read = {INDEX: parts, **{name: read_config(file) for name, file in files.items()}}
    facts = _sampleable(facts_of_configs(lambda name: read.get(name, {})), found.path_or_id)
    family = _family_of(parts, index.parent, found.path_or_id)
    return replace(found, family=family, facts=facts)


def _ask_for_header(found: FoundBase, repository: str, checkpoint: str) -> FoundBase:
    """The table of a checkpoint's tensors stands at its beginning: a few hundred kB of gigabytes."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import EntryNotFoundError, SafetensorsParsingError

    try:
        header = HfApi().parse_safetensors_file_metadata(repository, checkpoint)
    except SafetensorsParsingError as error:
        raise BrokenFile(f"{found.path_or_id} is no safetensors file.", path=found.path_or_id) from error
    except (OSError, ValueError, EntryNotFoundError) as error:
        raise explain(found.path_or_id, error) from error
    tensors = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in header.tensors.items()}
    family, facts = _facts_of_tensors(Path(checkpoint), tensors)
    return replace(found, family=family, facts=facts)


def _found_folder(name: str, folder: Path, entry: Base | None) -> FoundBase:
    here = (folder / name for name in INDEXES if (folder / name).is_file())
    index = _read_json(next(here, folder / INDEX), folder)
    family = _family_of(index, folder, folder)
    family = entry.family if entry else family
    facts = _sampleable(facts_of_configs(lambda file: read_config(folder / file)), folder)
    return FoundBase(
        name=name, path_or_id=str(folder), family=family, layout="folder", entry=entry, facts=facts
    )


def _sampleable(facts: BaseFacts, place: Path | str) -> BaseFacts:
    """The base, unless nothing here can sample it. Raises FamilyMismatch."""
    if facts.edm:
        raise FamilyMismatch(
            f"The base model {Path(place).name} is trained in the EDM way, as Playground v2.5: that can't be "
            "used here.",
            "Take one that predicts noise or velocity, as most do.",
            path=place,
        )
    if facts.channels != LATENT_CHANNELS:
        raise FamilyMismatch(
            f"The base model {Path(place).name} takes {facts.channels} channels instead of 4: it is made for "
            "inpainting, depth or upscaling only.",
            "Take the plain model; Generate can inpaint with it.",
            path=place,
        )
    return facts


def _family_of(index: Mapping[str, Any], folder: Path, place: Path | str) -> str:
    """The family of a repository in `folder`, by index and denoiser. Raises FamilyMismatch."""
    kind = str(index.get("_class_name", "model of unknown kind"))
    if kind not in PIPELINES:
        raise FamilyMismatch(
            f"The base model {Path(place).name} is a {kind}.",
            f"This version works with {_list(FAMILIES.values())}.",
            path=place,
        )
    if PIPELINES[kind]:
        return PIPELINES[kind]
    width = _read_json(folder / DENOISERS[0] / "config.json", folder).get("cross_attention_dim", 0)
    return family_from_text_width(width) or SD1


def _found_file(name: str, file: Path, entry: Base | None) -> FoundBase:
    _, tensors, _ = read_tensor_table(file)
    family, facts = _facts_of_tensors(file, tensors)
    if entry is not None and entry.predicts_velocity and not facts.prediction_type:
        facts = replace(facts, prediction_type=V_PREDICTION, zero_snr=entry.zero_snr, marked=True)
    return FoundBase(name=name, path_or_id=str(file), family=family, layout="file", entry=entry, facts=facts)


def _facts_of_tensors(file: Path, tensors: Tensors) -> tuple[str, BaseFacts]:
    """The family of a checkpoint, and its facts. Raises FamilyMismatch, UnknownFormat."""
    widths = [shape[1] for key, (_, shape) in tensors.items() if TEXT_KEY.fullmatch(key) and len(shape) == 2]
    starts = [start for start in TEXT_ENCODERS if any(key.startswith(start) for key in tensors)]
    if not widths or not starts:
        raise _no_checkpoint(file, tensors)
    family = TEXT_ENCODERS[starts[0]] or family_from_text_width(widths[0]) or SD1
    if family not in FAMILIES:
        raise _not_yet(file, family_title(family))
    return family, _sampleable(facts_of_file(file, family, tensors), file)


def _no_checkpoint(file: Path, tensors: Tensors) -> ModelFileError:
    try:
        family = family_title(read_header(file).family)
    except ModelFileError:  # no LoRA, or not on this machine
        other = other_architecture(tensors)
        if other in FAMILIES:
            return UnknownFormat(
                f"{file.name} is the denoiser of {family_title(other)} alone.",
                "Take the whole base model: its folder in diffusers' layout, or its name in the catalog.",
                path=file,
            )
        if other:
            return _not_yet(file, family_title(other))
        return UnknownFormat(
            f"{file.name} is no Stable Diffusion checkpoint: it lacks the denoiser or the text encoder.",
            "Use a full checkpoint file, not a LoRA or a single part.",
            path=file,
        )
    return UnknownFormat(
        f"{file.name} is a LoRA for {family}, not a base model.",
        "Put it into the library, and use it with the base model that it was made for.",
        path=file,
    )


def _not_yet(path: Path, title: str) -> FamilyMismatch:
    return FamilyMismatch(
        f"The base model {path.name} is made for {title}.",
        f"This version works with {_list(FAMILIES.values())}.",
        path=path,
    )


def _list(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}"


def _cached_family(hub_id: str) -> str:
    """The family of a hub model that was fetched before; asks the disk only."""
    index = cached_index(hub_id)
    if index is None:
        return ""
    folder = index.parent
    if not any((folder / part / "config.json").is_file() for part in DENOISERS):
        return ""
    return _family_of(_read_json(index, folder), folder, hub_id)


def _cached_config(hub_id: str, name: str) -> Mapping[str, Any]:
    from huggingface_hub import try_to_load_from_cache

    place = try_to_load_from_cache(hub_id, name)
    return read_config(Path(place)) if isinstance(place, str) else {}


def _read_json(path: Path, base: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UnknownFormat(
            f"The folder {base.name} is no diffusers base model: it has no {path.relative_to(base)}.",
            "Point to the folder that has model_index.json in it.",
            path=base,
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise BrokenFile(f"{path.name} in {base.name} can't be read.", path=path) from error
    return data if isinstance(data, dict) else {}
