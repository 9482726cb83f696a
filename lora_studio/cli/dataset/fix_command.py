"""`lora-studio dataset fix`: what the check found is mended by edits; the pictures stay as they are."""

from __future__ import annotations

import argparse
from collections import Counter

from lora_studio.cli.console.ctrl_c import stop_request
from lora_studio.cli.dataset.check_command import add_training, look_through, read_options
from lora_studio.errors import ConfigError, DatasetError
from lora_studio.files import expanded
from lora_studio.formatting import counted

SUMMARY = "Mend what the check finds; files stay as they are, and --undo takes it back."
DONE, STOPPED = 0, 130
MOST_ROUNDS = 4
"""Looks at the set: a picture without its border may lack its trigger word, too."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_training(parser)
    parser.add_argument(
        "--only",
        metavar="CHECK",
        nargs="+",
        default=[],
        help="mend what these checks found, by id (default: what takes nothing away)",
    )
    parser.add_argument(
        "--undo",
        action="store_true",
        help="take the edits back that were made last; once for each look that fix took",
    )


def run(arguments: argparse.Namespace) -> int:
    from lora_studio.data.checks.dataset_check import CHECKS
    from lora_studio.data.checks.dataset_report import WITHOUT_LOSS, chosen_edits
    from lora_studio.data.training_set.folder_edits import edit_folder, undo_in_folder
    from lora_studio.settings import Settings

    folder = expanded(arguments.folder).absolute()
    if arguments.undo:
        print(f"{counted(len(undo_in_folder(folder)), 'edit')} taken back.")
        return DONE
    ids = [check.id for check in CHECKS]
    if unknown := [name for name in arguments.only if name not in ids]:
        raise ConfigError(f"There is no check {unknown[0]!r}.", f"There are {', '.join(ids)}.")
    settings = Settings.from_environment()
    options = read_options(arguments, settings)
    made = Counter[str]()
    with stop_request("Stopping; what is mended stays so.") as asked:
        try:
            for _ in range(MOST_ROUNDS):
                report = look_through(folder, options, settings, asked)
                edits = chosen_edits(report, arguments.only or WITHOUT_LOSS)
                if not edits:
                    break
                edit_folder(folder, edits, "lora-studio dataset fix")
                made.update(edit.edit for edit in edits)
            else:
                report = look_through(folder, options, settings, asked)
        except DatasetError:
            if asked():
                return STOPPED
            raise
    for kind, count in made.items():
        print(f"{kind}: {counted(count, 'picture')}")
    print(f"{report.grade}  {report.verdict}" if made else "There is nothing to mend.")
    return DONE
