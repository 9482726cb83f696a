"""`lora-studio train`: pictures in a folder to a LoRA in the library, in this process."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_studio.cli.progress import Progress, format_duration
from lora_studio.config import Kind, Leaf, TrainConfig, config_leaf, config_leaves
from lora_studio.errors import ConfigError, DatasetError, StoreError

if TYPE_CHECKING:
    from lora_studio.records import DatasetRecord, JobRecord
    from lora_studio.studio import Studio

EPILOG = (
    "Every setting of docs/parameters.md is also an option of its own, under the name it has in sd-scripts: "
    "--network_dim 8 --flip_aug --engine sd-scripts. Coming from sd-scripts? See docs/kohya.md."
)
OF_SETTING = "setting:"
"""How the names begin under which argparse keeps them."""
KINDS = ("person", "style", "object", "character")
NOT_TAKEN_OVER = ("output_name", "output_dir", "title", "train_data_dir", "pretrained_model_name_or_path")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.add_argument(
        "--images", metavar="DIR", help="folder with pictures, captions beside them if there are any"
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
        "--kohya-config", metavar="FILE", help="start from an argument TOML of sd-scripts (its --config_file)"
    )
    parser.add_argument(
        "--ignore-unknown",
        action="store_true",
        help="with --kohya-config: name options of sd-scripts that don't exist here and go on without them",
    )
    parser.add_argument(
        "--save-kohya-config", metavar="FILE", help="write the training as such a file instead of running it"
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


def _form(leaf: Leaf) -> dict[str, Any]:
    facts: dict[str, Any] = {"dest": f"{OF_SETTING}{leaf.name}", "default": argparse.SUPPRESS}
    if leaf.annotation is bool:
        return {**facts, "nargs": "?", "const": "true"}
    several = leaf.annotation not in (int, float, str) and not leaf.choices
    return {**facts, "nargs": "*"} if several else facts


def run(arguments: argparse.Namespace) -> int:
    from lora_studio.cli.following import exit_code, follow
    from lora_studio.cli.kohya import copy_result
    from lora_studio.studio import open_studio

    if arguments.save_kohya_config:
        return _save(arguments)
    wishes = {} if arguments.kohya_config or arguments.resume else read_wishes(arguments)
    studio = open_studio(start_worker=False)
    try:
        progress = Progress(sys.stderr)
        place = None
        if arguments.resume:
            job = studio.jobs.resume(find_job(studio, arguments.resume).id)
        elif wishes:
            job = submit(studio, wishes, progress)
        else:
            job, place = _submit_file(studio, arguments, progress)
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
    folder = str(Path(wanted).expanduser().absolute())
    for job in studio.jobs.jobs(limit=1000):
        output = job.config["output"]
        if wanted in (job.id, job.name, output["output_name"]) or folder == output["output_dir"]:
            return job
    raise StoreError(f"There is no training {wanted!r} to resume.", "lora-studio status lists them.")


def _submit_file(
    studio: Studio, arguments: argparse.Namespace, progress: Progress
) -> tuple[JobRecord, Path | None]:
    from lora_studio.cli.kohya import queue_file

    return queue_file(
        studio,
        Path(arguments.kohya_config).expanduser(),
        changes_of(arguments),
        progress,
        ignore_unknown=arguments.ignore_unknown,
    )


def _save(arguments: argparse.Namespace) -> int:
    """Write the argument TOML of the training that the other options describe."""
    from lora_studio.cli import kohya
    from lora_studio.studio import open_studio

    progress = Progress(sys.stderr)
    target = Path(arguments.save_kohya_config)
    if arguments.kohya_config:
        path, changes = Path(arguments.kohya_config).expanduser(), changes_of(arguments)
        options = kohya.read_kohya(path, changes, ignore_unknown=arguments.ignore_unknown)
        config = kohya.configured(options, changes, progress)
        for note in options.notes:
            progress.say(f"Note: {note}")
    else:
        wishes = read_wishes(arguments)
        files = find_files(wishes["images"])
        common = {key: wishes[key] for key in ("name", "kind", "trigger", "base", "overrides")}
        studio = open_studio(start_worker=False)
        try:
            config = studio.train_config(train_data_dir=wishes["images"], images=len(files), **common)
            config = kohya.told_of_base(config, studio.settings)
        finally:
            studio.close()
    kohya.save(config, target)
    print(f"Written: {target}")
    return 0


def changes_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the options say of a training that a file describes: settings by name. Raises ConfigError."""
    shorter = {
        "images": "train_data_dir",
        "name": "title",
        "kind": "kind",
        "trigger": "trigger_word",
        "base": "pretrained_model_name_or_path",
        "steps": "max_train_steps",
    }
    given = {leaf: getattr(arguments, option) for option, leaf in shorter.items()}
    return {name: value for name, value in given.items() if value is not None} | settings_of(arguments)


def settings_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Settings given by --set or as an option of their own. Raises ConfigError."""
    own = {
        name.removeprefix(OF_SETTING): tuple(value) if isinstance(value, list) else value
        for name, value in vars(arguments).items()
        if name.startswith(OF_SETTING)
    }
    return dict(parse_setting(text) for text in arguments.set) | own


def read_wishes(arguments: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `Studio.start_training`, from --config, then the other options. Raises ConfigError."""
    if arguments.kohya_config:
        raise ConfigError(
            "--kohya-config doesn't work here.", "It is for lora-studio train, without --config."
        )
    given = _read_config(Path(arguments.config)) if arguments.config else {}
    settings = settings_of(arguments)
    named = settings.pop("output_name", None) or given.get("title") or given.get("output_name")
    chosen = {
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
    return {
        "images": Path(str(chosen["images"])).expanduser(),
        "name": chosen["name"],
        "kind": chosen["kind"],
        "trigger": overrides.pop("trigger_word", ""),
        "base": arguments.base or base or "starter",
        "overrides": overrides,
    }


def parse_setting(text: str) -> tuple[str, str]:
    """`key=value` of --set. Raises ConfigError for another form and for a name that is no setting."""
    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(
            f"--set {text}: a setting is written as key=value.", "For example --set network_dim=8."
        )
    return config_leaf(key.strip()).name, value.strip()


def submit(studio: Studio, wishes: Mapping[str, Any], progress: Progress) -> JobRecord:
    """Check everything that can be checked before anything is copied, then take the pictures in and queue the
    job. Raises StudioError."""
    folder: Path = wishes["images"]
    kind: Kind = wishes["kind"]
    files = find_files(folder)
    common = {key: wishes[key] for key in ("name", "trigger", "base", "overrides")}
    studio.train_config(train_data_dir=folder, images=len(files), kind=kind, **common)
    dataset = studio.datasets.create(wishes["name"], files)
    _tell(dataset, progress)
    return studio.start_training(dataset_id=dataset.id, kind=kind, **common)


def find_files(folder: Path) -> list[Path]:
    """What lies in the folder and, for Kohya's layout, one level below. Raises DatasetError."""
    if not folder.exists():
        raise DatasetError(f"The folder {folder} does not exist.", "Check --images.", path=folder)
    if not folder.is_dir():
        raise DatasetError(
            f"{folder} is not a folder.", "Give --images the folder that holds it.", path=folder
        )
    candidates = [
        *folder.iterdir(),
        *(inner for outer in folder.iterdir() if outer.is_dir() for inner in outer.iterdir()),
    ]
    files = sorted(path for path in candidates if path.is_file() and not path.name.startswith("."))
    if not files:
        raise DatasetError(
            f"There are no pictures in {folder}.", "Put PNG, JPEG or WebP files there.", path=folder
        )
    return files


def _read_config(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.expanduser().read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"The file {path} can't be read: {error.strerror}.", "Check --config.") from None
    except ValueError:
        raise ConfigError(f"{path} is not JSON.", "Give --config a LoRA's training.json.") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path} holds no training.", "Give --config a LoRA's training.json.")
    config = data.get("config", data)
    return TrainConfig.from_json(config).values()


def _tell(dataset: DatasetRecord, progress: Progress) -> None:
    pictures = "1 picture" if dataset.images == 1 else f"{dataset.images} pictures"
    progress.say(f"{pictures}, {dataset.captions} with a caption.")
    for sentence in dataset.refused:
        progress.say(f"Left out: {sentence}")
    for sentence in dataset.warnings:
        progress.say(f"Warning: {sentence}")


def _report(record: JobRecord, *, as_json: bool) -> None:
    from lora_studio.cli.following import describe_job

    if as_json:
        print(json.dumps(describe_job(record), indent=2))
    if record.status in {"failed", "interrupted"}:
        print(f"error: {record.message} {record.hint}".rstrip(), file=sys.stderr)
    elif record.status == "paused":
        print(f"Paused at step {record.step}. Go on: lora-studio train --resume {record.id}", file=sys.stderr)
    elif not as_json and record.result_path:
        took = format_duration(record.seconds_at_work(time.time()))
        slug = Path(record.result_path).name
        print(f"{str(record.status).capitalize()} after {record.step} steps in {took}: {record.result_path}")
        prompt = record.config["preview"]["sample_prompts"][:1] or [record.config["dataset"]["trigger_word"]]
        print(f'Try it: lora-studio generate --lora {slug} --prompt "{prompt[0]}"')
    elif not as_json:
        print("Stopped before the first step; nothing was saved.")
