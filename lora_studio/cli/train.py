"""`lora-studio train`: pictures in a folder to a LoRA in the library, in this process."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_studio.cli.progress import Progress, format_duration
from lora_studio.config import Kind, TrainConfig, config_leaf
from lora_studio.errors import ConfigError, DatasetError

if TYPE_CHECKING:
    from lora_studio.records import DatasetRecord, JobRecord
    from lora_studio.studio import Studio

KINDS = ("person", "style", "object", "character")
NOT_TAKEN_OVER = ("output_name", "output_dir", "title", "train_data_dir", "pretrained_model_name_or_path")


def add_arguments(parser: argparse.ArgumentParser) -> None:
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
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(arguments: argparse.Namespace) -> int:
    from lora_studio.cli.following import exit_code, follow
    from lora_studio.studio import open_studio

    wishes = read_wishes(arguments)
    studio = open_studio(start_worker=False)
    try:
        progress = Progress(sys.stderr)
        job = submit(studio, wishes, progress)
        studio.jobs.start(only=job.id)
        record = follow(studio, job.id, progress)
        _report(record, as_json=arguments.json)
        return exit_code(record)
    finally:
        studio.close()


def read_wishes(arguments: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `Studio.start_training`, from --config, then the other options. Raises ConfigError."""
    given = _read_config(Path(arguments.config)) if arguments.config else {}
    chosen = {
        "images": arguments.images or given.get("train_data_dir"),
        "name": arguments.name
        if arguments.name is not None
        else given.get("title") or given.get("output_name"),
        "kind": arguments.kind or given.get("kind"),
    }
    for option, value in chosen.items():
        if value is None:
            raise ConfigError(f"--{option} is missing.", "See lora-studio train --help.", field=option)
    overrides = {key: value for key, value in given.items() if key not in NOT_TAKEN_OVER}
    for option, leaf in (("kind", "kind"), ("trigger", "trigger_word"), ("steps", "max_train_steps")):
        if getattr(arguments, option) is not None:
            overrides[leaf] = getattr(arguments, option)
    overrides |= dict(parse_setting(text) for text in arguments.set)
    return {
        "images": Path(str(chosen["images"])).expanduser(),
        "name": chosen["name"],
        "kind": chosen["kind"],
        "trigger": overrides.pop("trigger_word", ""),
        "base": arguments.base or given.get("pretrained_model_name_or_path") or "starter",
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
    from lora_studio.families.detect import find_base

    folder: Path = wishes["images"]
    kind: Kind = wishes["kind"]
    files = find_files(folder)
    common = {key: wishes[key] for key in ("name", "trigger", "base", "overrides")}
    studio.train_config(train_data_dir=folder, images=len(files), kind=kind, **common)
    find_base(wishes["base"], studio.settings)
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
    elif not as_json and record.result_path:
        took = format_duration((record.finished_at or 0) - (record.started_at or 0))
        slug = Path(record.result_path).name
        print(f"{str(record.status).capitalize()} after {record.step} steps in {took}: {record.result_path}")
        prompt = record.config["preview"]["sample_prompts"][:1] or [record.config["dataset"]["trigger_word"]]
        print(f'Try it: lora-studio generate --lora {slug} --prompt "{prompt[0]}"')
    elif not as_json:
        print("Stopped before the first step; nothing was saved.")
