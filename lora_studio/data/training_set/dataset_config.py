"""sd-scripts' dataset config: a TOML or JSON file with a general table, datasets and their subsets.

An option is looked up in the subset, its dataset, the general table, and then in the run's own settings.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from lora_studio.config_groups import DatasetGroup
from lora_studio.data.training_set.subsets import Subset, existing_folder
from lora_studio.errors import ConfigError
from lora_studio.files import expanded
from lora_studio.kohya_config.option_values import bounded, number_in, read_json, read_text
from lora_studio.parsing.refusals import refusal
from lora_studio.parsing.toml_text import read_toml

OF_DATASETS = {
    "resolution": "resolution",
    "batch_size": "train_batch_size",
    **{
        name: name
        for name in (
            *(
                "enable_bucket",
                "min_bucket_reso",
                "max_bucket_reso",
                "bucket_reso_steps",
                "bucket_no_upscale",
            ),
            *("validation_split", "validation_seed", "network_multiplier", "skip_image_resolution"),
        )
    },
}
OF_ALL = (
    *("num_repeats", "shuffle_caption", "keep_tokens", "keep_tokens_separator", "caption_separator"),
    *("secondary_separator", "enable_wildcard", "caption_prefix", "caption_suffix", "caption_dropout_rate"),
    *("caption_dropout_every_n_epochs", "caption_tag_dropout_rate", "token_warmup_min", "token_warmup_step"),
    *("color_aug", "flip_aug", "random_crop", "face_crop_aug_range", "resize_interpolation"),
    *("custom_attributes", "caption_extension", "class_tokens", "cache_info"),
)
PLACES = ("image_dir", "metadata_file", "conditioning_data_dir")
OF_SUBSETS = ("image_dir", "is_reg", "alpha_mask", "metadata_file", "conditioning_data_dir")
NO_SETTINGS = {"image_dir", "is_reg", "metadata_file", "class_tokens", "cache_info", "custom_attributes"} | {
    *("network_multiplier", "skip_image_resolution")
}
"""Options that are no settings of a DatasetGroup."""
TABLES = {"general", "datasets", "subsets", "custom_attributes"}
LONGEST_NAME = 64


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table's options, and its place in the file for messages."""

    where: str
    options: Mapping[str, Any]


class ConfigSubsets(NamedTuple):
    """The settings of each dataset, all subsets, and notes on what is left out."""

    datasets: tuple[DatasetGroup, ...]
    subsets: list[Subset]
    notes: list[str]


def config_subsets(run: DatasetGroup) -> ConfigSubsets:
    """The datasets and subsets that the dataset config of a run names. Raises ConfigError, DatasetError."""
    path = expanded(run.dataset_config)
    run = run.model_copy(update={"dataset_version": ""})  # each folder has versions of its own
    top = Table(where=path.name, options=_read(path))
    return _config_subsets(run, top, lambda given: _anywhere(given, path))


def folder_config(file: Path, run: DatasetGroup) -> ConfigSubsets:
    """The datasets and subsets of a dataset config that lies in the folder of a set: `image_dir` is a folder
    inside of it, and `[general]` holds what a training of the set begins with, which `run` has already.
    Raises ConfigError, DatasetError."""
    top = Table(where=file.name, options={**_read(file), "general": {}})
    return _config_subsets(run, top, lambda given: _inside(given, file))


def starting_options(file: Path) -> dict[str, Any]:
    """The settings in `[general]` of such a file, by their names. Raises ConfigError."""
    general = _table(Table(where=file.name, options=_read(file)), "general")
    check_options(general, (*OF_DATASETS, *OF_ALL))
    return options_as_settings(general)


def _config_subsets(run: DatasetGroup, top: Table, place: Callable[[str], Path]) -> ConfigSubsets:
    check_options(top, ("general", "datasets"))
    general = _table(top, "general")
    check_options(general, (*OF_DATASETS, *OF_ALL))
    datasets: list[DatasetGroup] = []
    subsets: list[Subset] = []
    notes: list[str] = []
    for dataset in tables_in(top, "datasets"):
        check_options(dataset, (*OF_DATASETS, *OF_ALL, "subsets"))
        settings = settings_of(run, [general, dataset])
        check_together(dataset, {**general.options, **dataset.options})
        found = _subsets(settings, dataset, place=place, general=general, notes=notes)
        area = skipped_area(dataset, {**general.options, **dataset.options})
        subsets += [replace(subset, dataset=len(datasets), skipped_area=area) for subset in found]
        datasets.append(settings)
    return ConfigSubsets(tuple(datasets), subsets, notes)


def _read(path: Path) -> dict[str, Any]:
    if not os.path.exists(path):
        raise ConfigError(f"There is no file {path}.", "dataset_config names it.", field="dataset_config")
    try:
        text = read_text(path, "dataset_config names it.")
        found = read_json(text, path.name) if path.suffix.lower() == ".json" else read_toml(text, path.name)
    except ConfigError as error:
        error.field = "dataset_config"
        raise
    if not isinstance(found, dict):
        raise _refusal(path.name, "it should be a table with general and datasets")
    return found


def _table(top: Table, name: str) -> Table:
    options = top.options.get(name, {})
    if not isinstance(options, dict):
        raise _refusal(top.where, f"{name} should be a table, written as [{name}]")
    return Table(where=f"{top.where}, [{name}]", options=options)


def tables_in(above: Table, name: str, full_name: str = "") -> list[Table]:
    """The tables of a list, at least one. Raises ConfigError."""
    full_name = full_name or name
    entries = above.options.get(name)
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise _refusal(above.where, f"there should be at least one table [[{full_name}]]")
    numbered = (f" {number}" for number in range(1, len(entries) + 1)) if len(entries) > 1 else [""]
    return [
        Table(where=f"{above.where}, [[{full_name}]]{number}", options=entry)
        for number, entry in zip(numbered, entries, strict=True)
    ]


def check_options(table: Table, names: tuple[str, ...], *, suggest: bool = True) -> None:
    """Refuse a table with an option of another name, or a value that is no plain one; `suggest` looks for
    the name that was meant, which takes most of the time. Raises ConfigError."""
    for option, value in table.options.items():
        if option in names:
            if option not in TABLES:
                _bounded(table, option, value)
            continue
        option = option[:LONGEST_NAME]
        everywhere = {*OF_DATASETS, *OF_ALL, *OF_SUBSETS}
        if option in everywhere:
            places = "a dataset or [general]" if option in OF_DATASETS else "a subset"
            raise _refusal(table.where, f"{option} doesn't belong here", f"Put it into {places}.")
        near = difflib.get_close_matches(option, names, n=1, cutoff=0.5) if suggest else []
        hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(sorted(names))}."
        raise _refusal(table.where, f"there is no option {option!r}", hint)


def _bounded(table: Table, option: str, value: Any) -> None:
    try:
        bounded(f"{table.where}: {option}", value)
    except ConfigError as error:
        error.field = "dataset_config"
        raise


def options_as_settings(table: Table) -> dict[str, Any]:
    """The values of those options that are settings of a training, by the names of the settings."""
    found: dict[str, Any] = {}
    for option, value in table.options.items():
        if option not in NO_SETTINGS and option not in TABLES:
            found |= _setting(option, value)
    return found


def settings_of(base: DatasetGroup, tables: Sequence[Table]) -> DatasetGroup:
    """`base` with the options of these tables, the last of which wins. Raises ConfigError."""
    changed: dict[str, Any] = {}
    for table in tables:
        changed |= options_as_settings(table)
    try:
        return DatasetGroup.model_validate({**base.model_dump(), **changed})
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        name = str(problem["loc"][-1]) if problem["loc"] else ""
        option = next((key for key, value in OF_DATASETS.items() if value == name), name)
        table = next((table for table in reversed(tables) if option in table.options), tables[-1])
        found = refusal(error, DatasetGroup, {name: option})
        raise _refusal(table.where, found.message.removesuffix("."), found.hint) from None


def _setting(option: str, value: Any) -> dict[str, Any]:
    if option == "resolution":
        sides = value.split(",") if isinstance(value, str) else value
        if isinstance(sides, list) and len(sides) in (1, 2):
            return {"resolution": sides[0], "resolution_height": sides[-1] if sides[-1] != sides[0] else None}
        return {"resolution": value, "resolution_height": None}
    if option == "face_crop_aug_range" and isinstance(value, list):
        value = ",".join(str(number) for number in value)
    return {OF_DATASETS.get(option, option): value}


def _subsets(
    settings: DatasetGroup,
    dataset: Table,
    *,
    place: Callable[[str], Path],
    general: Table,
    notes: list[str],
) -> list[Subset]:
    found: list[Subset] = []
    for table in tables_in(dataset, "subsets", "datasets.subsets"):
        check_options(table, (*OF_ALL, *OF_SUBSETS))
        options = {**general.options, **dataset.options, **table.options}
        check_subset(table, options)
        if options.get("num_repeats") == 0:
            notes.append(f"{table.where} is left out: its num_repeats is 0.")
            continue
        named = {name: str(place(str(table.options[name]))) for name in PLACES if name in table.options}
        resolved = Table(where=table.where, options={**table.options, **named})
        subset = _subset(resolved, options, settings_of(settings, [resolved]))
        if any(other.folder == subset.folder and other.name == subset.name for other in found):
            notes.append(f"{table.where} is left out: {subset.name} is in the dataset already.")
            continue
        found.append(subset)
    if not found:
        raise _refusal(dataset.where, "there are no pictures in it")
    if options_without_effect := [name for name in ("cache_info",) if name in dataset.options]:
        notes.append(f"{dataset.where}: {options_without_effect[0]} is ignored: pictures are read anew.")
    return found


def _subset(table: Table, options: Mapping[str, Any], settings: DatasetGroup) -> Subset:
    is_reg = bool(table.options.get("is_reg", False))
    captions = table.options.get("metadata_file")
    if "image_dir" not in table.options and not captions:
        raise _refusal(table.where, "image_dir is missing", "Name the folder with the pictures.")
    if is_reg:
        settings = settings.model_copy(update={"trigger_word": "", "dataset_version": ""})
    folder = Path(table.options.get("image_dir") or Path(str(captions)).parent)
    return Subset(
        folder=folder if captions else existing_folder(folder),
        settings=settings,
        repeats=settings.num_repeats,
        words=str(options.get("class_tokens") or ""),
        is_reg=is_reg,
        captions_file=Path(str(captions)) if captions else None,
    )


def _anywhere(given: str, config: Path) -> Path:
    """A path as sd-scripts understands it, from the working directory; else from the config's folder."""
    path = expanded(given)
    return path if os.path.exists(path) else config.parent / path


def _inside(given: str, config: Path) -> Path:
    """A path below the config's folder. Raises ConfigError for another one."""
    path = config.parent / given
    if not path.resolve().is_relative_to(config.parent.resolve()):
        raise _refusal(config.name, f"{given[:LONGEST_NAME]!r} is outside of the folder", "Name one in it.")
    return path


def check_together(table: Table, options: Mapping[str, Any]) -> None:
    """Refuse options of a dataset that can't be followed here. Raises ConfigError."""
    if options.get("network_multiplier", 1) != 1:
        raise _refusal(
            table.where, "network_multiplier can only be 1 here", "Scale the LoRA when it is used instead."
        )


def skipped_area(table: Table, options: Mapping[str, Any]) -> int:
    """`skip_image_resolution` in pixels, 0 without: pictures of this many pixels or fewer stay out of a
    dataset, so that each of several resolutions takes the pictures that are large enough for it. Raises
    ConfigError."""
    value = options.get("skip_image_resolution")
    if value is None:
        return 0
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else [value]
    sides = [number_in(str(part)) for part in parts]
    if len(sides) not in (1, 2) or not all(isinstance(side, int) and side > 0 for side in sides):
        raise _refusal(table.where, "skip_image_resolution should be one side or [width, height]")
    return int((sides[0] or 0) * (sides[-1] or 0))


def check_subset(table: Table, options: Mapping[str, Any]) -> None:
    """Refuse options of a subset that can't be followed here. Raises ConfigError."""
    custom = options.get("custom_attributes") or {}
    if not isinstance(custom, dict):
        raise _refusal(table.where, "custom_attributes should be a table")
    if custom.get("diff_output_preservation"):
        raise _refusal(
            table.where,
            "custom_attributes: diff_output_preservation is not built here",
            "Leave it out; all else works without it.",
        )
    if not isinstance(options.get("is_reg", False), bool):
        raise _refusal(table.where, "is_reg should be true or false")
    if options.get("is_reg") and options.get("metadata_file"):
        raise _refusal(table.where, "is_reg can't be used with metadata_file")


def _refusal(where: str, what: str, hint: str = "") -> ConfigError:
    return ConfigError(f"{where}: {what}.", hint, field="dataset_config")
