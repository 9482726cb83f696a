"""`lora-studio train --kohya-config FILE`: a training as sd-scripts' argument TOML describes it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_studio.config import TrainConfig, config_leaves
from lora_studio.errors import ConfigError
from lora_studio.kohya_config import KohyaOptions, further_options, read_file, write_kohya
from lora_studio.kohya_config.options import COUNTED_IN_EPOCHS, NETWORK_ARGS, SECRETS

if TYPE_CHECKING:
    from lora_studio.cli.progress import Progress
    from lora_studio.records import JobRecord
    from lora_studio.settings import Settings
    from lora_studio.studio import Studio

SIZE_STEP = 8
NAMELESS = {"output_name": "last", "output_dir": "."}
"""As in sd-scripts, for a file that does not say."""


def queue_file(
    studio: Studio, path: Path, changes: Mapping[str, Any], progress: Progress, *, ignore_unknown: bool
) -> tuple[JobRecord, Path | None]:
    """Queue the training of a file, `changes` (settings by name) made. Its pictures stay where they are, its
    LoRA goes into the library; the path is where sd-scripts would have put it. Raises StudioError."""
    from lora_studio.families.detect import find_base

    options = read_kohya(path, changes, ignore_unknown=ignore_unknown)
    made = configured(options, changes, progress)
    with studio.naming:
        config = in_library(studio, made, name=str(changes.get("title") or made.output.output_name))
        find_base(config.model.pretrained_model_name_or_path, studio.settings)
        job = studio.jobs.submit(config)
    for note in options.notes:
        progress.say(f"Note: {note}")
    return job, their_place(options)


def read_kohya(path: Path, changes: Mapping[str, Any], *, ignore_unknown: bool) -> KohyaOptions:
    """With the engine sd-scripts nothing is refused that it has: it gets all options of the file."""
    if changes.get("engine") != "sd-scripts":
        return read_file(path, ignore_unknown=ignore_unknown)
    options = read_file(path, ignore_unknown=True)
    notes = tuple(
        f"{name} is not handed on, since a run's settings are kept with its LoRA: set {variable} instead."
        for name, variable in SECRETS.items()
        if options.given.get(name)
    )
    return replace(options, notes=notes)


def configured(options: KohyaOptions, changes: Mapping[str, Any], progress: Progress) -> TrainConfig:
    """The config of a file that was read, counted in steps, its paths whole. Raises StudioError."""
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
    if config.run.engine == "sd-scripts":
        further = further_options(_not_changed(options, changes), config)
        config = config.with_values({"sd_scripts_args": (*further, *config.run.sd_scripts_args)})
    return config.with_values(whole_paths(config))


def _not_changed(options: KohyaOptions, changes: Mapping[str, Any]) -> dict[str, Any]:
    """What the file says and the command line says nothing else about."""
    changed = {*changes, *(epochs for epochs, steps in COUNTED_IN_EPOCHS.items() if steps in changes)}
    changed |= {"network_args"} if {*NETWORK_ARGS.values()} & {*changes} else set()
    changed |= {"optimizer_args"} if "weight_decay" in changes else set()
    return {name: value for name, value in options.given.items() if name not in changed}


def whole_paths(config: TrainConfig) -> dict[str, Any]:
    """Settings that name something in the working folder, with its whole path: a training may be repeated
    from elsewhere."""
    found: dict[str, Any] = {}
    for name in (*(leaf.name for leaf in config_leaves() if leaf.local), "train_data_dir"):
        value = config.values()[name]
        if isinstance(value, str) and value and Path(value).expanduser().exists():
            found[name] = str(Path(value).expanduser().absolute())
        elif isinstance(value, tuple) and name != "sd_scripts_args":
            found[name] = tuple(str(Path(one).expanduser().absolute()) for one in value)
    return found


def steps_per_epoch(config: TrainConfig) -> int:
    """As the trainer will count them: batches end at the borders of buckets. Raises DatasetError."""
    from lora_studio.data.buckets import bucketing_for
    from lora_studio.data.cache import PlacedPicture
    from lora_studio.data.folders import read_folder
    from lora_studio.data.held_out import split_off
    from lora_studio.data.loader import Loader
    from lora_studio.data.pictures import upright_size
    from lora_studio.data.regularisation import shared_repeats

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
    )
    return loader.steps(config.optimizer.max_train_steps).updates_per_epoch


def in_library(studio: Studio, config: TrainConfig, *, name: str) -> TrainConfig:
    """The same training with a free place in the library as its output."""
    from lora_studio.studio import slug_of

    taken = studio.jobs.names_in_use()
    if studio.settings.loras.is_dir():
        taken |= {path.name for path in studio.settings.loras.iterdir()}
    slug = free = slug_of(name)
    number = 1
    while free in taken:
        number += 1
        free = f"{slug[: 63 - len(str(number))]}-{number}"
    return config.with_values(
        {
            "output_name": free,
            "output_dir": str(studio.settings.loras / free),
            "title": config.output.title or name,
        }
    )


def their_place(options: KohyaOptions) -> Path | None:
    """Where sd-scripts would put the LoRA; None when the file doesn't say."""
    folder, name = options.given.get("output_dir"), options.given.get("output_name", "last")
    return Path(str(folder)).expanduser() / f"{name}.safetensors" if folder else None


def copy_result(record: JobRecord, target: Path | None, progress: Progress) -> None:
    """Put the LoRA of a job where the file says, too. What is there already stays."""
    from lora_studio.lora.files import find_file

    if target is None or not record.result_path:
        return
    source = find_file(record.result_path)
    if target.exists():
        progress.say(f"Note: {target} is there already and stays; the new one is in the library.")
        return
    unfinished = target.with_name(f".{target.name}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, unfinished)
        os.replace(unfinished, target)
    except OSError as error:
        progress.say(f"Warning: {target} can't be written: {error.strerror or error}.")
    else:
        progress.say(f"Copied to {target}.")


def told_of_base(config: TrainConfig, settings: Settings) -> TrainConfig:
    """With what we read from the base model and sd-scripts has to be told, where nobody says otherwise."""
    from lora_studio.families.detect import find_base

    found = find_base(config.model.pretrained_model_name_or_path, settings)
    if config.model.v_parameterization is not None or not found.predicts_velocity:
        return config
    zero_snr = config.noise.zero_terminal_snr or found.facts.zero_snr
    return config.with_values({"v_parameterization": True, "zero_terminal_snr": zero_snr})


def save(config: TrainConfig, path: Path) -> None:
    """Write a training as an argument TOML; a file that is there stays. Raises ConfigError."""
    try:
        path.expanduser().parent.mkdir(parents=True, exist_ok=True)
        with path.expanduser().open("x", encoding="utf-8") as file:
            file.write(write_kohya(config))
    except FileExistsError:
        raise ConfigError(
            f"{path} is there already.", "Choose another name for --save-kohya-config."
        ) from None
    except OSError as error:
        raise ConfigError(
            f"{path} can't be written: {error.strerror}.", "Check --save-kohya-config."
        ) from None
