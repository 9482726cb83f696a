"""`lora-studio audit`: who did what on the page and over the API."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from datetime import datetime

from lora_studio.parsing.numbers import read_whole


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--count", metavar="N", default="50", help="the last N entries (default: 50)")
    parser.add_argument("--json", action="store_true", help="print them as JSON")


def run(arguments: argparse.Namespace) -> int:
    from lora_studio.cli.console.text_table import draw_table
    from lora_studio.settings import Settings
    from lora_studio.store.people.audit_log import AuditLog

    entries = AuditLog(Settings.from_environment().home).newest(read_whole(arguments.count, "count"))
    if arguments.json:
        print(json.dumps({"entries": [asdict(entry) for entry in entries]}, indent=2))
    elif not entries:
        print("Nobody has done anything on the page yet.")
    else:
        rows = [
            (
                datetime.fromtimestamp(entry.at).strftime("%Y-%m-%d %H:%M:%S"),
                *(entry.who, entry.source, entry.deed, entry.thing, entry.result),
            )
            for entry in entries
        ]
        print(draw_table(("WHEN", "WHO", "FROM", "WHAT", "ON", "RESULT"), rows))
    return 0
