"""`lora-studio storage`: the disk that the studio takes, and its clean-up."""

from __future__ import annotations

import argparse
import json
from contextlib import closing

from lora_studio.formatting import counted, size
from lora_studio.operations import storage_use
from lora_studio.settings import Settings

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--clean",
        choices=storage_use.CLEANABLE,
        metavar="KIND",
        help=f"remove what can be made again or was deleted: {', '.join(storage_use.CLEANABLE)}; for good",
    )
    parser.add_argument("--json", action="store_true", help="print it as JSON")


def run(arguments: argparse.Namespace) -> int:
    from lora_studio.cli.console.text_table import draw_table
    from lora_studio.store.database import Database

    settings = Settings.from_environment()
    settings.create_folders()
    with closing(Database(settings.database)) as database:
        if arguments.clean:
            files, freed = storage_use.clean_up(arguments.clean, settings, database)
            if arguments.json:
                print(json.dumps({"kind": arguments.clean, "files": files, "bytes": freed}))
            else:
                print(f"{counted(files, 'file is', 'files are')} gone, {size(freed)}.")
            return 0
        uses = list(storage_use.count_storage(settings, database))
    if arguments.json:
        print(json.dumps({"kinds": [use.facts() for use in uses]}, indent=2))
        return 0
    rows = [(use.kind.title, size(use.bytes), f"{use.files:,}", _offer(use)) for use in uses]
    print(draw_table(("WHAT", "SIZE", "FILES", "CLEAN-UP"), rows))
    return 0


def _offer(use: storage_use.StorageUse) -> str:
    return f"--clean {use.kind.name}: {size(use.freed_bytes)}" if use.freed_bytes else ""
