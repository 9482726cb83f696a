"""`lora-studio train --save-kohya-config FILE`: a training as files that sd-scripts runs as they are."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lora_studio import catalog
from lora_studio.config import TrainConfig
from lora_studio.data.buckets import resolution_of
from lora_studio.data.captions import EXTENSIONS, has_word, read_caption
from lora_studio.data.training_set.folders import Picture, read_folder
from lora_studio.data.training_set.subsets import KOHYA_FOLDER, Subset
from lora_studio.errors import ConfigError, StudioError
from lora_studio.families.base_files.locate import find_base
from lora_studio.files import write_atomically
from lora_studio.kohya_config import write_kohya
from lora_studio.kohya_config.sample_prompts import prompt_lines
from lora_studio.kohya_config.write_preset import write_preset
from lora_studio.parsing.toml_text import write_table

OPTION = "Choose another name for --save-kohya-config."
UNSEEN = (
    "sd-scripts will see pictures and captions as they were before your edits: export the set, and name that "
    "folder instead."
)


def export(config: TrainConfig, target: Path) -> list[str]:
    """Write the argument TOML and beside it, where sd-scripts needs them, its file of prompts and its dataset
    config; a target that ends in .json becomes a preset of the kohya_ss GUI. Existing files stay. Returns
    notes on differences. Raises ConfigError, ModelFileError."""
    if target.suffix.lower() == ".json":
        family = find_base(config.model.pretrained_model_name_or_path).family
        _write({target: write_preset(config, family)})
        return []
    files: dict[Path, str] = {}
    options: dict[str, Any] = {}
    if config.preview.sample_every_n_steps:
        prompts = target.with_name(f"{target.stem}-prompts.txt")
        lines = prompt_lines(_prompts(config), config.preview, resolution_of(config.dataset))
        files[prompts] = "\n".join(lines) + "\n"
        options["sample_prompts"] = str(prompts.absolute())
    picture_options, dataset, notes = _pictures(config)
    options |= picture_options
    if dataset:
        place = target.with_name(f"{target.stem}-dataset.toml")
        files[place] = dataset
        options["dataset_config"] = str(place.absolute())
    _write({**files, target: write_kohya(config, options)})
    return notes


def _prompts(config: TrainConfig) -> Sequence[str]:
    given = [prompt for prompt in config.preview.sample_prompts if prompt.strip()]
    data = config.dataset
    base = config.model.pretrained_model_name_or_path
    return given or catalog.preview_prompts(data.kind, data.trigger_word, base)


def _pictures(config: TrainConfig) -> tuple[dict[str, Any], str, list[str]]:
    """(options, dataset config or nothing, notes) that let sd-scripts see the captions that we see."""
    try:
        folder = read_folder(config.dataset)
    except StudioError:  # written for another machine, whose pictures are not here
        return {"caption_extension": config.dataset.caption_extension or EXTENSIONS[0]}, "", []
    unseen = [UNSEEN] if folder.is_edited else []
    if config.dataset.dataset_config or config.dataset.in_json:
        return {"caption_extension": config.dataset.caption_extension or EXTENSIONS[0]}, "", unseen
    ending, notes = _ending(config, folder.pictures)
    notes += unseen
    options: dict[str, Any] = {"caption_extension": ending}
    prefix = _prefix(config, folder.pictures)
    if not all(KOHYA_FOLDER.fullmatch(subset.folder.name) for subset in folder.subsets):
        return options, _dataset(config, folder.subsets, prefix), notes
    if prefix and config.dataset.reg_data_dir:
        notes.append(f"sd-scripts will not put {config.dataset.trigger_word} in front of the captions.")
    elif prefix:
        options["caption_prefix"] = prefix
    return options, "", notes


def _ending(config: TrainConfig, pictures: Sequence[Picture]) -> tuple[str, list[str]]:
    """The one ending of caption files that sd-scripts will read, and a note on captions with others."""
    if config.dataset.caption_extension:
        return config.dataset.caption_extension, []
    used = Counter(
        next((ending for ending in EXTENSIONS if picture.path.with_suffix(ending).is_file()), "")
        for picture in pictures
    )
    used.pop("", None)
    ending = used.most_common(1)[0][0] if used else EXTENSIONS[0]
    others = sum(number for other, number in used.items() if other != ending)
    note = f"sd-scripts will not read {others} captions that do not end in {ending}."
    return ending, [note] if others else []


def _prefix(config: TrainConfig, pictures: Sequence[Picture]) -> str:
    """The trigger word as caption_prefix, since sd-scripts does not put it in front of captions by itself;
    empty where captions have it already. Twice is better than not at all."""
    data, word = config.dataset, config.dataset.trigger_word.strip()
    if not word or data.caption_prefix or has_word(data.caption_suffix, word):
        return ""
    written = [
        read_caption(picture.path, data.caption_extension).text for picture in pictures if not picture.is_reg
    ]
    return f"{word}," if any(text and not has_word(text, word) for text in written) else ""


def _dataset(config: TrainConfig, subsets: Sequence[Subset], prefix: str) -> str:
    """A dataset config, needed because sd-scripts passes over pictures that lie in train_data_dir itself."""
    tables = ["[[datasets]]"]
    for subset in subsets:
        values: dict[str, Any] = {
            "image_dir": str(subset.folder.absolute()),
            "num_repeats": subset.repeats,
            "is_reg": subset.is_reg,
        }
        if words := subset.words or ("" if subset.is_reg else config.dataset.trigger_word):
            values["class_tokens"] = words
        if prefix and not subset.is_reg:
            values["caption_prefix"] = prefix
        tables.append(write_table("[datasets.subsets]", values))
    return "\n\n".join(tables) + "\n"


def _write(files: Mapping[Path, str]) -> None:
    for path in files:
        if os.path.exists(path):
            raise ConfigError(f"{path} is there already.", OPTION)
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, text)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", "") or "its name is no path"
        raise ConfigError(f"{list(files)[-1]} can't be written: {reason}.", OPTION) from None
