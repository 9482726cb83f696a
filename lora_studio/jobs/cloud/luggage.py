"""Luggage of a run on a rented machine: the configuration, and the files it names under the hash of their
content, so that what was there once is not sent again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_studio.catalog import EMBEDDED
from lora_studio.data.training_set.folder_edits import log_folder
from lora_studio.data.training_set.folders import read_folder
from lora_studio.errors import ConfigError, DatasetError
from lora_studio.families.base_files.locate import find_base
from lora_studio.files import expanded, read_errors, sha256
from lora_studio.settings import Settings
from lora_studio.training_request import RunRequest

VERSION = 1
BASE = "pretrained_model_name_or_path"
FOLDERS = ("train_data_dir", "reg_data_dir", "conditioning_data_dir")
NOT_YET = ("dataset_config", "in_json", "network_weights", "base_weights")
"""Settings that name files in ways that don't travel yet."""


@dataclass(frozen=True, kw_only=True)
class Luggage:
    """`order` is the far end's JSON, `contents` local files and folders by their place over there."""

    order: Mapping[str, Any]
    contents: Mapping[str, Path]


def pack(request: RunRequest, run: str, settings: Settings, *, seconds: float, usd: float) -> Luggage:
    """Everything for the run of this name, which may take so many seconds. Raises ConfigError for settings
    whose files can't travel, DatasetError, ModelFileError."""
    config = request.config
    values = config.values()
    for name in NOT_YET:
        if values[name]:
            raise ConfigError(
                f"{name} names files that don't travel to Modal yet.",
                "Train here, or on pictures and a base model alone.",
                field=name,
            )
    read_folder(config.dataset)  # what is wrong with it costs nothing yet
    places, contents = dict[str, str](), dict[str, Path]()

    def take(path: Path) -> str:
        place = f"content/{content_hash(path)}/{path.name}"
        contents[place] = path
        return place

    for name in FOLDERS:
        if values[name]:
            places[name] = take(_with_its_edits(expanded(values[name]).absolute(), name))
    found = find_base(config.model.pretrained_model_name_or_path, settings)
    path = Path(found.path_or_id)
    embedded = {settings.embedded(base.name).resolve() for base in EMBEDDED}
    if found.layout != "hub" and path.resolve() not in embedded:
        places[BASE] = take(path.absolute())  # the others are there already, or fetched from the Hub there
    order = {
        "version": VERSION,
        "run": run,
        "config": config.to_json(),
        "places": places,
        "resume_from": take(request.resume_from.absolute()) if request.resume_from else "",
        "fork": request.fork,
        "seconds": seconds,
        "usd": usd,
        "attended": True,
    }
    return Luggage(order=order, contents=contents)


def _with_its_edits(folder: Path, name: str) -> Path:
    """The folder. Raises ConfigError where edits of it lie above, and would stay here."""
    above = log_folder(folder)
    if above != folder:
        raise ConfigError(
            f"The edits of {folder.name} lie above it, in {above.name}, and don't travel to Modal with it.",
            f"Name {above.name} as {name}, or export the edited pictures and name that folder.",
            field=name,
        )
    return folder


def content_hash(path: Path) -> str:
    """The SHA-256 of a file, or of a folder's names and contents but hidden ones. Raises DatasetError."""
    with read_errors(path, DatasetError):
        if path.is_file():
            return sha256(path)
        if not path.is_dir():
            raise DatasetError(f"{path} does not exist.", path=path)
        digest = hashlib.sha256()
        for name, file in files_of(path):
            digest.update(f"{name}\0{sha256(file)}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


def files_of(path: Path) -> Iterator[tuple[str, Path]]:
    """The files that travel, by their path from `path`, in order; a file has no path from itself."""
    if path.is_file():
        yield "", path
        return
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path).as_posix()
        if file.is_file() and not any(part.startswith(".") for part in Path(name).parts):
            yield name, file
