"""`lora-studio train` in sd-scripts' words: its argument TOML, a preset of its GUI, its command line."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_studio.config import TrainConfig, config_leaves
from lora_studio.files import copy_atomically, expanded, reason
from lora_studio.kohya_config import KohyaOptions, further_options, read_file, read_given
from lora_studio.kohya_config.options import COUNTED_IN_EPOCHS, NETWORK_ARGS, SECRETS

if TYPE_CHECKING:
    from lora_studio.cli.console.progress_bar import Progress
    from lora_studio.records import JobRecord
    from lora_studio.settings import Settings
    from lora_studio.studio import Studio

SIZE_STEP = 8
NAMELESS = {"output_name": "last", "output_dir": "."}
"""sd-scripts' values for a file without them."""


@dataclass(frozen=True, kw_only=True)
class Described:
    """A training in sd-scripts' words: a file's, the command line's, which win, and `changes` in ours."""

    path: Path | None
    given: Mapping[str, Any]
    changes: Mapping[str, Any]
    ignore_unknown: bool


def queue_described(
    studio: Studio, described: Described, progress: Progress
) -> tuple[JobRecord, Path | None]:
    """Queue a training. Its pictures stay where they are, its LoRA goes into the library; the returned path
    is sd-scripts' place for the LoRA. Raises StudioError."""
    from lora_studio.families.base_files.locate import find_base

    changes, options = described.changes, read_kohya(described)
    made = configured(options, changes, progress)
    with studio.trainings.naming:
        config = in_library(studio, made, name=str(changes.get("title") or made.output.output_name))
        find_base(config.model.pretrained_model_name_or_path, studio.settings)
        job = studio.jobs.submit(config)
    for note in options.notes:
        progress.say(f"Note: {note}")
    return job, their_place(options)


def read_kohya(described: Described) -> KohyaOptions:
    """The options of a file or command line. With the engine sd-scripts no option of sd-scripts is refused:
    it gets all. Raises ConfigError."""
    by_them = described.changes.get("engine") == "sd-scripts"
    ignore = by_them or described.ignore_unknown
    if described.path is None:
        options = read_given(described.given, ignore_unknown=ignore)
    else:
        options = read_file(_existing(described.path), described.given, ignore_unknown=ignore)
    if not by_them:
        return options
    notes = tuple(
        f"{name} is not handed on, since a run's settings are kept with its LoRA: set {variable} instead."
        for name, variable in SECRETS.items()
        if options.given.get(name)
    )
    return replace(options, notes=notes)


def _existing(path: Path) -> Path:
    """The path of the file, whose ending .toml may be left out as in sd-scripts."""
    longer = path.with_name(f"{path.name}.toml")
    return longer if not os.path.exists(path) and os.path.exists(longer) else path


def configured(options: KohyaOptions, changes: Mapping[str, Any], progress: Progress) -> TrainConfig:
    """The config of options that were read, counted in steps, its paths whole. Raises StudioError."""
    given = {
        name: value for name, value in options.in_epochs.items() if COUNTED_IN_EPOCHS[name] not in changes
    }
    options = replace(options, in_epochs=given, values={**NAMELESS, **options.values})
    length = 0
    if given:
        first = options.config(steps_per_epoch=1, **changes)
        length = steps_per_epoch(first)
        progress.say(f"An epoch has {length} steps.")
    config = options.config(steps_per_epoch=length, **changes)
    if options.rounds and "max_train_steps" not in changes:
        config = config.with_values({"max_train_steps": steps_of_gui(config, options.rounds)})
    if config.run.engine == "sd-scripts":
        further = further_options(_not_changed(options, changes), config)
        config = config.with_values({"sd_scripts_args": (*further, *config.run.sd_scripts_args)})
    return config.with_values(whole_paths(config))


def _not_changed(options: KohyaOptions, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Options of the file that the command line does not change."""
    changed = {*changes, *(epochs for epochs, steps in COUNTED_IN_EPOCHS.items() if steps in changes)}
    changed |= {"network_args"} if {*NETWORK_ARGS.values()} & {*changes} else set()
    changed |= {"optimizer_args"} if "weight_decay" in changes else set()
    return {name: value for name, value in options.given.items() if name not in changed}


def whole_paths(config: TrainConfig) -> dict[str, Any]:
    """Settings that name something in the working folder, as whole paths, to be repeated from elsewhere."""
    found: dict[str, Any] = {}
    for name in (*(leaf.name for leaf in config_leaves() if leaf.local), "train_data_dir"):
        value = config.values()[name]
        if isinstance(value, str) and value and os.path.exists(expanded(value)):
            found[name] = str(expanded(value).absolute())
        elif isinstance(value, tuple) and name != "sd_scripts_args":
            found[name] = tuple(str(expanded(one).absolute()) for one in value)
    return found


def steps_per_epoch(config: TrainConfig) -> int:
    """Steps of an epoch as the trainer counts: batches end at buckets' borders. Raises DatasetError."""
    from lora_studio.data.buckets import bucketing_for
    from lora_studio.data.latent_cache import PlacedPicture
    from lora_studio.data.loader import Loader
    from lora_studio.data.pixels.picture_pixels import upright_size
    from lora_studio.data.training_set.folders import read_folder
    from lora_studio.data.training_set.regularisation import shared_repeats
    from lora_studio.data.training_set.validation_split import split_off

    folder = read_folder(config.dataset)
    pictures, _ = split_off(folder.pictures, config.optimizer.seed)
    places = {
        number: bucketing_for(data, SIZE_STEP)
        for number, data in enumerate(folder.datasets or (config.dataset,))
    }
    placed = [
        PlacedPicture(
            index=index,
            picture=replace(picture, repeats=repeats),
            placement=places[picture.dataset].place(upright_size(picture.path)),
        )
        for index, (picture, repeats) in enumerate(zip(pictures, shared_repeats(pictures), strict=True))
        if repeats
    ]
    loader = Loader(
        pictures=tuple(placed),
        batch_size=config.dataset.train_batch_size,
        accumulate=config.optimizer.gradient_accumulation_steps,
        seed=config.optimizer.seed,
        batch_sizes=tuple(data.train_batch_size for data in folder.datasets),
        processes=config.run.num_processes,
    )
    return loader.steps(config.optimizer.max_train_steps).updates_per_epoch


def steps_of_gui(config: TrainConfig, rounds: int) -> int:
    """max_train_steps as the kohya_ss GUI counts it from its epochs: twice as many with pictures for
    regularisation, and without regard to buckets. Raises DatasetError."""
    from lora_studio.data.training_set.folders import read_folder

    shown = sum(picture.repeats for picture in read_folder(config.dataset).pictures if not picture.is_reg)
    at_once = config.dataset.train_batch_size * config.optimizer.gradient_accumulation_steps
    at_once *= config.run.num_processes
    return max(1, math.ceil(shown * rounds * (2 if config.dataset.reg_data_dir else 1) / at_once))


def steps_of_epochs(config: TrainConfig, in_epochs: Mapping[str, int]) -> dict[str, int]:
    """Settings given in epochs, counted in steps. Raises DatasetError."""
    if not in_epochs:
        return {}
    options = KohyaOptions(values=config.values(), given={}, in_epochs=in_epochs)
    counted = options.in_steps(steps_per_epoch(config))
    return {COUNTED_IN_EPOCHS[name]: counted[COUNTED_IN_EPOCHS[name]] for name in in_epochs}


def in_library(studio: Studio, config: TrainConfig, *, name: str) -> TrainConfig:
    """The training with a free place in the library as its output."""
    free = studio.trainings.free_slug(name)
    return config.with_values(
        {
            "output_name": free,
            "output_dir": str(studio.settings.loras / free),
            "title": config.output.title or name,
        }
    )


def their_place(options: KohyaOptions) -> Path | None:
    """sd-scripts' path of the LoRA; None when the options don't name it."""
    folder, name = options.given.get("output_dir"), options.given.get("output_name", "last")
    return expanded(str(folder)) / f"{name}.safetensors" if folder else None


def copy_result(record: JobRecord, target: Path | None, progress: Progress) -> None:
    """Copy the LoRA of a job to `target` as well. An existing file stays."""
    from lora_studio.lora.file.lora_files import find_file

    if target is None or not record.result_path:
        return
    source = find_file(record.result_path)
    if os.path.exists(target):
        progress.say(f"Note: {target} is there already and stays; the new one is in the library.")
        return
    try:
        copy_atomically(source, target)
    except OSError as error:
        progress.say(f"Warning: {target} can't be written: {reason(error)}.")
    else:
        progress.say(f"Copied to {target}.")


def told_of_base(config: TrainConfig, settings: Settings) -> TrainConfig:
    """The config with the facts of the base model that sd-scripts has to be given, where none are set."""
    from lora_studio.families.base_files.locate import find_base

    found = find_base(config.model.pretrained_model_name_or_path, settings)
    if config.model.v_parameterization is not None or not found.predicts_velocity:
        return config
    zero_snr = config.noise.zero_terminal_snr or found.zero_snr
    return config.with_values({"v_parameterization": True, "zero_terminal_snr": zero_snr})
