"""`lora-studio add`: take LoRA files into the library, from this machine or from the web."""

from __future__ import annotations

import argparse
import json
import re
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from lora_studio.cli.console.ctrl_c import stop_request
from lora_studio.cli.console.progress_bar import Progress
from lora_studio.errors import ModelFileError
from lora_studio.files import expanded

if TYPE_CHECKING:
    from lora_studio.records import LoraRecord
    from lora_studio.studio import Studio

LINK = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files",
        metavar="FILE|LINK",
        nargs="+",
        help=".safetensors files, or the https:// links of their downloads",
    )
    parser.add_argument("--json", action="store_true", help="print the LoRAs as JSON")


def run(arguments: argparse.Namespace) -> int:
    from lora_studio.studio import open_studio

    records, stopped = [], False
    studio = open_studio(start_worker=False)
    try:
        studio.gallery.scan()
        for given in arguments.files:
            record = _fetch(studio, given) if LINK.match(given) else _copy(studio, given)
            if stopped := record is None:
                break
            records.append(record)
    finally:
        studio.close()
    if arguments.json:
        print(json.dumps({"loras": [asdict(record) for record in records if record]}, indent=2))
    else:
        for record in records:
            if record:
                print(f"{record.slug}: {record.title}  {record.path}")
    return 130 if stopped else 0


def _fetch(studio: Studio, link: str) -> LoraRecord | None:
    progress = Progress(sys.stderr)
    with stop_request("Stopping; nothing of this file is kept.") as asked:
        try:
            return studio.links.add(link, progress.show, asked)
        finally:
            progress.close()


def _copy(studio: Studio, name: str) -> LoraRecord:
    path = expanded(name)
    if not path.is_file():
        raise ModelFileError(f"There is no file {path}.", "Check the path.", path=path)
    return studio.gallery.import_lora(path)
