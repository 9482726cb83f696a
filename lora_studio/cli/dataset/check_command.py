"""`lora-studio dataset check`: what is wrong with a folder's pictures and captions, and what helps."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lora_studio.cli.console.ctrl_c import stop_request
from lora_studio.cli.console.progress_bar import Progress
from lora_studio.errors import DatasetError
from lora_studio.files import disk_errors, expanded, write_atomically
from lora_studio.formatting import counted
from lora_studio.parsing.plain_text import plain_name

if TYPE_CHECKING:
    from lora_studio.data.checks.checked_set import CheckOptions
    from lora_studio.data.checks.dataset_report import DatasetReport
    from lora_studio.events import ShouldStop
    from lora_studio.settings import Settings

SUMMARY = "Say what is wrong with a folder's pictures and captions, and what to do about it."
KINDS = ("person", "style", "object", "character")
DONE, STOPPED = 0, 130
SHOWN = 6
"""Findings of one check that are printed; all are in the files."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_training(parser)
    parser.add_argument("--json", metavar="FILE", help="write the report as JSON; - prints it")
    parser.add_argument("--html", metavar="FILE", help="write the report as a page with thumbnails")


def add_training(parser: argparse.ArgumentParser) -> None:
    """Add the folder, and what says which training it is meant for."""
    parser.add_argument(
        "folder", metavar="FOLDER", help="pictures with captions beside them, also in Kohya's layout"
    )
    parser.add_argument("--base", metavar="NAME", default="starter", help="base model (default: starter)")
    parser.add_argument("--kind", choices=KINDS, default="object", help="what the pictures show")
    parser.add_argument("--trigger", metavar="WORD", default="", help="the word that is to call it up")
    parser.add_argument(
        "--resolution", metavar="PX", type=int, help="training size (default: the base's own)"
    )
    parser.add_argument(
        "--train_batch_size", metavar="N", type=int, help="pictures a step (default: what suits the base)"
    )
    parser.add_argument(
        "--max_token_length",
        type=int,
        choices=(75, 150, 225),
        help="tokens of a caption that are read, for bases with CLIP (default: 75)",
    )


def run(arguments: argparse.Namespace) -> int:
    from lora_studio.data.checks.report_html import report_html
    from lora_studio.settings import Settings

    folder = expanded(arguments.folder).absolute()
    options = read_options(arguments, Settings.from_environment())
    with stop_request("Stopping.") as asked:
        try:
            report = look_through(folder, options, Settings.from_environment(), asked)
        except DatasetError:
            if asked():
                return STOPPED
            raise
    text = json.dumps(report.to_json(), indent=2)
    if arguments.json == "-":
        print(text)
    else:
        _print(report, options)
    with disk_errors("The report", "written"):
        if arguments.json and arguments.json != "-":
            write_atomically(expanded(arguments.json), f"{text}\n")
        if arguments.html:
            page = report_html(report, title=plain_name(folder), base=options.base_title)
            write_atomically(expanded(arguments.html), page)
    return DONE


def read_options(arguments: argparse.Namespace, settings: Settings) -> CheckOptions:
    """The training that the folder is meant for. Raises ModelFileError, ConfigError."""
    from lora_studio.training.preparation.check_options import options_for

    values = {
        name: value
        for name in ("resolution", "train_batch_size", "max_token_length")
        if (value := getattr(arguments, name)) is not None
    }
    return options_for(
        arguments.base, settings, kind=arguments.kind, trigger=arguments.trigger, values=values
    )


def look_through(
    folder: Path, options: CheckOptions, settings: Settings, should_stop: ShouldStop
) -> DatasetReport:
    """The report on a folder, with a bar meanwhile. Raises DatasetError."""
    from lora_studio.config_groups import DatasetGroup
    from lora_studio.data.checks.checked_set import pictures_of
    from lora_studio.data.checks.dataset_check import check_dataset
    from lora_studio.data.checks.picture_facts import FactsCache
    from lora_studio.data.training_set.subsets import folder_subsets

    progress = Progress(sys.stderr)
    subsets, notes = folder_subsets(DatasetGroup(train_data_dir=str(folder)))
    for note in notes:
        progress.say(note)
    pictures = list(pictures_of(folder, subsets))
    cache = FactsCache(settings.cache / "picture-facts")
    report = check_dataset(pictures, options, cache, progress.show, should_stop)
    progress.close()
    return report


def _print(report: DatasetReport, options: CheckOptions) -> None:
    print(f"{report.grade}  {report.verdict}")
    print(
        f"{counted(len(report.pictures), 'picture')} for {options.base_title}, {report.points} of 100 "
        f"points; nothing found by {len(report.passed)} of {len(report.passed) + len(report.parts)} checks."
    )
    for part in report.parts:
        print(f"\n{part.check.title}: {part.check.advice}")
        for finding in part.findings[:SHOWN]:
            print(f"  {finding.severity:<8} {finding.reason}")
        if len(part.findings) > SHOWN:
            print(f"  and {len(part.findings) - SHOWN} more")
