"""`lora-studio train`: pictures in a folder to a LoRA in the library, in this process."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_studio.cli.console.progress_bar import Progress
from lora_studio.cli.kohya_train import pasted_command
from lora_studio.config import Leaf, TrainConfig, config_leaf, config_leaves
from lora_studio.errors import ConfigError, StoreError
from lora_studio.files import expanded
from lora_studio.formatting import counted, duration
from lora_studio.kohya_config.option_forms import SPECIAL
from lora_studio.kohya_config.option_values import typed
from lora_studio.kohya_config.options import OPTIONS, SHARES_OF_THE_RUN
from lora_studio.kohya_config.read_options import take_options
from lora_studio.training_request import StartTraining

if TYPE_CHECKING:
    from lora_studio.cli.kohya_train.kohya_job import Described
    from lora_studio.records import DatasetRecord, JobRecord
    from lora_studio.studio import Studio

EPILOG = (
    "Every setting of docs/parameters.md is also an option of its own, under the name it has in sd-scripts: "
    "--network_dim 8 --flip_aug --engine sd-scripts. A command line of sd-scripts can be pasted behind "
    "train as it is: docs/kohya.md."
)
OF_SETTING = "setting:"
"""Prefix of argparse's names for settings."""
KINDS = ("person", "style", "object", "character")
FORMS = set(SPECIAL) - {*SHARES_OF_THE_RUN, "sample_prompts"}
"""Settings whose form in sd-scripts differs from ours."""
PROMPT_FILES = (".txt", ".toml", ".json")
NOT_TAKEN_OVER = (
    *("output_name", "output_dir", "title", "train_data_dir", "dataset_version"),
    "pretrained_model_name_or_path",
)


@dataclass(frozen=True, kw_only=True)
class WantedTraining:
    """A training of the pictures in a folder or a ZIP, or of a single one; `in_epochs` are settings that are
    given in epochs, `notes` sentences on options without a meaning here, `version` that of the edits of the
    folder; empty: those that hold."""

    images: Path
    start: StartTraining
    version: str = ""
    in_epochs: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.add_argument(
        "--images",
        metavar="PATH",
        help="folder or ZIP with pictures, captions beside them if there are any; or one picture",
    )
    parser.add_argument("--name", help="what the LoRA is to be called")
    parser.add_argument("--kind", choices=KINDS, help="what the pictures show; it picks the preset")
    parser.add_argument(
        "--trigger", metavar="WORD", help="the word that calls it up (default: made from the name)"
    )
    parser.add_argument("--base", help="catalog name, folder, .safetensors file or hub id (default: starter)")
    parser.add_argument(
        "--steps", metavar="N", help="how many steps (default: what suits kind, base and pictures)"
    )
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="any setting of docs/parameters.md; repeatable",
    )
    parser.add_argument(
        "--config", metavar="FILE", help="start from a TrainConfig JSON, as in a LoRA's training.json"
    )
    parser.add_argument(
        *("--kohya-config", "--config_file"),
        metavar="FILE",
        help="start from sd-scripts' argument TOML (its --config_file) or a JSON preset of the kohya_ss GUI",
    )
    parser.add_argument(
        "--ignore-unknown",
        action="store_true",
        help="name options of sd-scripts that don't exist here and go on without them",
    )
    parser.add_argument(
        "--save-kohya-config", metavar="FILE", help="write such a file (.json: a preset) instead of training"
    )
    parser.add_argument(
        "--resume",
        metavar="JOB",
        help="go on with a training where it was paused, stopped or interrupted: its id "
        "in lora-studio status, or its LoRA's name or folder",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    for leaf in config_leaves():
        if leaf.name != "kind":
            parser.add_argument(f"--{leaf.name}", help=argparse.SUPPRESS, **_form(leaf))
    pasted_command.add_arguments(parser)


def _form(leaf: Leaf) -> dict[str, Any]:
    facts: dict[str, Any] = {"dest": f"{OF_SETTING}{leaf.name}", "default": argparse.SUPPRESS}
    if leaf.annotation is bool:
        return {**facts, "nargs": "?", "const": "true"}
    several = leaf.name == "text_encoder_lr" or (
        leaf.annotation not in (int, float, str) and not leaf.choices
    )
    return {**facts, "nargs": "*"} if several else facts


def run(arguments: argparse.Namespace) -> int:
    from lora_studio.cli.console.follow_job import exit_code, follow
    from lora_studio.cli.kohya_train.kohya_job import copy_result, queue_described
    from lora_studio.studio import open_studio

    if arguments.save_kohya_config:
        return _save(arguments)
    described = describe(arguments)
    wanted = None if described or arguments.resume else read_wanted(arguments)
    studio = open_studio(start_worker=False)
    try:
        progress = Progress(sys.stderr)
        place = None
        if wanted:
            job = submit(studio, wanted, progress)
        elif described and (arguments.whole_command or not arguments.resume):
            job, place = queue_described(studio, described, progress)
        else:
            job = studio.jobs.resume(find_job(studio, arguments.resume).id)
        studio.jobs.start(only=job.id)
        studio.mirror.start(only=job.id)
        record = follow(studio, job.id, progress)
        copy_result(record, place, progress)
        _report(record, as_json=arguments.json)
        return exit_code(record)
    finally:
        studio.close()


def find_job(studio: Studio, wanted: str) -> JobRecord:
    """The newest training with this id, this name or this output folder. Raises StoreError."""
    folder = str(expanded(wanted).absolute())
    for job in studio.jobs.jobs(limit=1000):
        if wanted in (job.id, job.name, job.slug) or folder == job.config["output"]["output_dir"]:
            return job
    raise StoreError(f"There is no training {wanted!r} to resume.", "lora-studio status lists them.")


def describe(arguments: argparse.Namespace) -> Described | None:
    """The training in sd-scripts' words; None when it is in ours. Raises ConfigError."""
    from lora_studio.cli.kohya_train.kohya_job import Described

    theirs = pasted_command.their_options(arguments)
    whole = pasted_command.is_whole(arguments, theirs)
    if not whole and not arguments.kohya_config:
        return None
    settings = settings_of(arguments)
    if whole and arguments.resume:
        theirs["resume"] = arguments.resume
    for name in [name for name in settings if name in OPTIONS and (whole or name in FORMS)]:
        theirs[name] = settings.pop(name)
    return Described(
        path=expanded(arguments.kohya_config) if arguments.kohya_config else None,
        given={name: _theirs(name, value) for name, value in theirs.items()},
        changes=changes_of(arguments) | settings,
        ignore_unknown=arguments.ignore_unknown,
    )


def _theirs(name: str, value: Any) -> Any:
    """An option's value as a file would hold it."""
    if isinstance(value, tuple | list):
        alone = value[0] if name == "sample_prompts" and len(value) == 1 else None
        return alone if alone and Path(alone).suffix in PROMPT_FILES else [str(one) for one in value]
    return typed(name, value)


def _save(arguments: argparse.Namespace) -> int:
    """Write the argument TOML of the training that the other options describe."""
    from lora_studio.cli.kohya_train import kohya_job
    from lora_studio.cli.kohya_train.kohya_export import export
    from lora_studio.studio import open_studio

    progress = Progress(sys.stderr)
    target = Path(arguments.save_kohya_config)
    if described := describe(arguments):
        options = kohya_job.read_kohya(described)
        config = kohya_job.configured(options, described.changes, progress)
        for note in options.notes:
            progress.say(f"Note: {note}")
    else:
        wanted = read_wanted(arguments)
        from lora_studio.data.ingestion.given_files import find_files

        files = find_files(wanted.images)
        if not wanted.images.is_dir():
            raise ConfigError("sd-scripts trains from folders only.", "Give --images a folder.")
        studio = open_studio(start_worker=False)
        try:
            config = planned_config(studio, wanted, wanted.images, len(files))
            config = kohya_job.told_of_base(config, studio.settings)
        finally:
            studio.close()
        for note in wanted.notes:
            progress.say(f"Note: {note}")
    for note in export(config, expanded(target)):
        progress.say(f"Note: {note}")
    print(f"Written: {target}")
    return 0


def changes_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Settings, by name, that our shorter options change in a training in sd-scripts' words."""
    shorter = {
        "images": "train_data_dir",
        "name": "title",
        "kind": "kind",
        "trigger": "trigger_word",
        "base": "pretrained_model_name_or_path",
        "steps": "max_train_steps",
    }
    given = {leaf: getattr(arguments, option) for option, leaf in shorter.items()}
    return {name: value for name, value in given.items() if value is not None}


def settings_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Settings given by --set or as an option of their own. Raises ConfigError."""
    options = {
        name.removeprefix(OF_SETTING): tuple(value) if isinstance(value, list) else value
        for name, value in vars(arguments).items()
        if name.startswith(OF_SETTING)
    }
    return dict(parse_setting(text) for text in arguments.set) | options


def read_wanted(arguments: argparse.Namespace) -> WantedTraining:
    """The wanted training, from --config, then the other options. Raises ConfigError."""
    if arguments.kohya_config:
        raise ConfigError(
            "--kohya-config doesn't work here.", "It is for lora-studio train, without --config."
        )
    given = _read_config(Path(arguments.config)) if arguments.config else {}
    settings = settings_of(arguments)
    forms = {name: settings.pop(name) for name in FORMS & set(settings) if _says(settings[name])}
    forms |= pasted_command.their_options(arguments)
    taken = take_options(
        {name: _theirs(name, value) for name, value in forms.items()}, ignore_unknown=arguments.ignore_unknown
    )
    settings |= {name: value for name, value in taken.values.items() if name != "metadata_title"}
    named = settings.pop("output_name", None) or given.get("title") or given.get("output_name")
    chosen: dict[str, Any] = {
        "images": arguments.images or settings.pop("train_data_dir", None) or given.get("train_data_dir"),
        "name": arguments.name if arguments.name is not None else named,
        "kind": arguments.kind or given.get("kind"),
    }
    for option, value in chosen.items():
        if value is None:
            raise ConfigError(f"--{option} is missing.", "See lora-studio train --help.", field=option)
    overrides = {key: value for key, value in given.items() if key not in NOT_TAKEN_OVER}
    for option, leaf in (("kind", "kind"), ("trigger", "trigger_word"), ("steps", "max_train_steps")):
        if getattr(arguments, option) is not None:
            overrides[leaf] = getattr(arguments, option)
    base = settings.pop("pretrained_model_name_or_path", None) or given.get("pretrained_model_name_or_path")
    overrides |= settings
    start = StartTraining(
        name=chosen["name"],
        kind=chosen["kind"],
        trigger=overrides.pop("trigger_word", ""),
        base=arguments.base or base or "starter",
        overrides=overrides,
    )
    return WantedTraining(
        images=expanded(str(chosen["images"])),
        start=start,
        version=str(overrides.pop("dataset_version", "")),
        in_epochs=taken.in_epochs,
        notes=tuple(taken.notes),
    )


def _says(value: Any) -> bool:
    """Whether an option holds a value and not the word that resets a setting."""
    text = value[0] if isinstance(value, tuple) and len(value) == 1 else value
    return not (isinstance(text, str) and text.strip().lower() in {"", "none"}) and text != ()


def parse_setting(text: str) -> tuple[str, str]:
    """`key=value` of --set. Raises ConfigError for another form and for a name that is no setting."""
    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(
            f"--set {text}: a setting is written as key=value.", "For example --set network_dim=8."
        )
    return config_leaf(key.strip()).name, value.strip()


def submit(studio: Studio, wanted: WantedTraining, progress: Progress) -> JobRecord:
    """Check what can be checked, then take the pictures in and queue the job. Raises StudioError."""
    from lora_studio.cli.kohya_train.kohya_job import steps_of_epochs

    with checked_files(studio, wanted) as files:
        dataset = studio.datasets.create(wanted.start.name, files)
    tell(dataset, progress)
    for note in wanted.notes:
        progress.say(f"Note: {note}")
    start = replace(wanted.start, dataset_id=dataset.id)
    if wanted.in_epochs:
        steps = steps_of_epochs(studio.trainings.config(start), wanted.in_epochs)
        start = replace(start, overrides={**start.overrides, **steps})
    job = studio.trainings.start(start)
    if not start.trigger.strip():
        progress.say(
            f"You will call it with: {job.config['dataset']['trigger_word']} (--trigger is another)."
        )
    return job


@contextmanager
def checked_files(studio: Studio, wanted: WantedTraining) -> Iterator[list[Path]]:
    """The files to take in, as edited, inside the block, once all else is checked. Raises StudioError."""
    from lora_studio.data.ingestion.given_files import files_as_edited, find_files

    files = find_files(wanted.images)
    studio.trainings.folder_config(wanted.start, wanted.images, len(files))
    with files_as_edited(wanted.images, wanted.version) as edited:
        yield edited


def planned_config(studio: Studio, wanted: WantedTraining, folder: Path, images: int) -> TrainConfig:
    """The configuration for the pictures in a folder. Raises StudioError."""
    from lora_studio.cli.kohya_train.kohya_job import steps_of_epochs

    config = studio.trainings.folder_config(wanted.start, folder, images)
    return config.with_values(steps_of_epochs(config, wanted.in_epochs))


def _read_config(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(expanded(path).read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"The file {path} can't be read: {error.strerror}.", "Check --config.") from None
    except (ValueError, RecursionError):
        raise ConfigError(f"{path} is not JSON.", "Give --config a LoRA's training.json.") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path} holds no training.", "Give --config a LoRA's training.json.")
    config = data.get("config", data)
    return TrainConfig.from_json(config).values()


def tell(dataset: DatasetRecord, progress: Progress) -> None:
    progress.say(f"{counted(dataset.images, 'picture')}, {dataset.captions} with a caption.")
    for sentence in dataset.refused:
        progress.say(f"Left out: {sentence}")
    for sentence in dataset.warnings:
        progress.say(f"Warning: {sentence}")


def _report(record: JobRecord, *, as_json: bool) -> None:
    from lora_studio.cli.console.follow_job import describe_job

    if as_json:
        print(json.dumps(describe_job(record), indent=2))
    if record.status in {"failed", "interrupted"}:
        print(f"error: {record.message} {record.hint}".rstrip(), file=sys.stderr)
    elif record.status == "paused":
        reason = f"{record.message} {record.hint}".strip() or f"Paused at step {record.step}."
        print(f"{reason} Go on: lora-studio train --resume {record.id}", file=sys.stderr)
    elif not as_json and record.result_path:
        took = duration(record.seconds_at_work(time.time()))
        slug = Path(record.result_path).name
        print(f"{str(record.status).capitalize()} after {record.step} steps in {took}: {record.result_path}")
        prompt = record.config["preview"]["sample_prompts"][:1] or [record.config["dataset"]["trigger_word"]]
        print(f'Try it: lora-studio generate --lora {slug} --prompt "{prompt[0]}"')
    elif not as_json:
        print("Stopped before the first step; nothing was saved.")
