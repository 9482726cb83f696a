"""`lora-studio report`: how strong a LoRA is at several weights, and what else it changes."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from lora_studio.cli.console.ctrl_c import stop_request
from lora_studio.cli.console.progress_bar import Progress
from lora_studio.cli.image_options import find_lora

if TYPE_CHECKING:
    from lora_studio.lora.strength_report import StrengthReport


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("lora", metavar="NAME", help="a LoRA of the library by short name or title")
    parser.add_argument(
        "--again", action="store_true", help="draw it anew, also where there is a report already"
    )
    parser.add_argument(
        "--base", metavar="NAME", default="", help="base model (default: the one of its training)"
    )
    parser.add_argument(
        "--noun",
        metavar="WORD",
        default="",
        help="what its subject is, as dog (default: the word in its captions)",
    )
    parser.add_argument(
        "--weights", metavar="W", nargs="+", default=[], help="weights to draw with (default: 0.4 0.7 1 1.2)"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(arguments: argparse.Namespace) -> int:
    from lora_studio.grids.strength_request import StrengthRequest
    from lora_studio.lora.strength_report import read_strength
    from lora_studio.studio import open_studio

    studio = open_studio(start_worker=False)
    try:
        record = find_lora(studio, arguments.lora)
        folder = Path(record.path).parent
        asked = arguments.again or arguments.base or arguments.noun or arguments.weights
        report = None if asked else read_strength(folder)
        if report is None:
            request = StrengthRequest.build(
                record.slug, base=arguments.base, noun=arguments.noun, weights=arguments.weights
            )
            progress = Progress(sys.stderr)
            with stop_request("Stopping; an earlier report is kept.") as stopped:
                report = studio.drawing.draw_strength(request, progress.show, stopped)
                progress.close()
        if report is None:
            return 130
        _print(report, folder, as_json=arguments.json)
        return 0
    finally:
        studio.close()


def _print(report: StrengthReport, folder: Path, *, as_json: bool) -> None:
    from lora_studio.cli.console.text_table import draw_table
    from lora_studio.lora.strength_report import FOLDER, SHEET, shown_weight, verdicts

    found = verdicts(report)
    sheet = folder / FOLDER / SHEET
    if as_json:
        facts = {"sheet": str(sheet), "verdicts": [verdict.sentence for verdict in found], **asdict(report)}
        print(json.dumps(facts, indent=2))
        return
    print("\n".join(verdict.sentence for verdict in found))
    rows = [
        (row.prompt, *("" if change is None else f"{change:.2f}" for change in row.changes[1:]))
        for row in report.rows
    ]
    print()
    print(draw_table(("CHANGE AT WEIGHT", *map(shown_weight, report.weights[1:])), rows))
    print(f"\n{sheet}")
