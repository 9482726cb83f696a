"""`lora-studio generate`: images from a prompt, with any number of LoRAs."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lora_studio.cli.console.ctrl_c import stop_request
from lora_studio.cli.console.progress_bar import Progress
from lora_studio.cli.image_options import add_image_arguments, build_request
from lora_studio.errors import ConfigError
from lora_studio.files import expanded

if TYPE_CHECKING:
    from lora_studio.records import ImageRecord


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_image_arguments(parser)
    parser.add_argument("--count", metavar="N", default="1", help="how many pictures (default: 1)")
    add_delivery(parser)


def add_delivery(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", metavar="DIR", help="also copy the pictures into this folder")
    parser.add_argument("--json", action="store_true", help="print the pictures with their settings as JSON")


def run(arguments: argparse.Namespace) -> int:
    from lora_studio.studio import open_studio

    studio = open_studio(start_worker=False)
    try:
        request = build_request(arguments, studio, count=arguments.count)
        progress = Progress(sys.stderr)
        with stop_request("Stopping; finished pictures are kept.") as asked:
            records = studio.drawing.draw(request, progress.show, asked, live=False)
            progress.close()
            stopped = asked()
        report(records, deliver(records, arguments.out), as_json=arguments.json)
        return 130 if stopped else 0
    finally:
        studio.close()


def deliver(records: Sequence[ImageRecord], folder: str | None) -> list[Path]:
    """The files of the pictures, copied into `folder` if there is one. Raises ConfigError."""
    return [_deliver(Path(record.path), folder) for record in records]


def _deliver(source: Path, folder: str | None) -> Path:
    if folder is None:
        return source
    target = expanded(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy2(source, target / source.name)).resolve()
    except OSError as error:
        raise ConfigError(
            f"The picture can't be copied to {target}: {error.strerror}.", f"It is kept at {source}."
        ) from None


def facts(record: ImageRecord, path: Path) -> dict[str, object]:
    return {
        "path": str(path),
        "seed": record.seed,
        "width": record.width,
        "height": record.height,
        "request": record.request,
    }


def report(records: Sequence[ImageRecord], paths: Sequence[Path], *, as_json: bool) -> None:
    if as_json:
        images = [facts(record, path) for record, path in zip(records, paths, strict=True)]
        print(json.dumps({"images": images}, indent=2))
        return
    for path in paths:
        print(path)
