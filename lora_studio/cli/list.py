"""`lora-studio list`: the LoRAs in the library."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING

from lora_studio.formatting import size

if TYPE_CHECKING:
    from lora_studio.records import LoraRecord


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--search", metavar="TEXT", default="", help="only those whose name or trigger word has it"
    )
    parser.add_argument("--json", action="store_true", help="print all that is known as JSON")


def run(arguments: argparse.Namespace) -> int:
    from lora_studio.cli.console.text_table import draw_table
    from lora_studio.studio import open_studio

    studio = open_studio(start_worker=False)
    try:
        studio.gallery.scan()
        records = studio.gallery.loras(arguments.search)
        if arguments.json:
            records = [studio.gallery.lora(record.slug) for record in records]  # with their metadata
    finally:
        studio.close()
    if arguments.json:
        print(json.dumps({"loras": [asdict(record) for record in records]}, indent=2))
    elif not records:
        print("No LoRA found." if arguments.search else "The library is empty. Start with: lora-studio tour")
    else:
        print(
            draw_table(
                ("NAME", "TITLE", "BASE", "TRIGGER", "DIM", "STEPS", "SIZE", "MADE"), map(_row, records)
            )
        )
        for record in records:
            if record.left_out:
                print(f"{record.slug}: {record.left_out}")
    return 0


def _row(record: LoraRecord) -> tuple[str, ...]:
    made = datetime.fromtimestamp(record.created_at).strftime("%Y-%m-%d %H:%M") if record.created_at else ""
    return (
        record.slug,
        record.title,
        record.base,
        record.trigger_word,
        str(record.network_dim or ""),
        str(record.steps or ""),
        size(record.size_bytes),
        made,
    )
