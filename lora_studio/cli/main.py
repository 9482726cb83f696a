"""Main program: parse the arguments, run one command, turn its result or error into an exit code.

0 done, 1 a bug of ours, 2 something the user can put right, 130 stopped. Help and version load nothing heavy:
each command imports what it needs when it runs.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import re
import sys
import time
import traceback
from collections.abc import Sequence
from typing import NoReturn

from lora_studio import __version__
from lora_studio.cli.console.terminal import steady_output
from lora_studio.cli.kohya_train.pasted_command import unpack
from lora_studio.errors import StudioError
from lora_studio.runtime import begin_in_cpu_environment
from lora_studio.settings import Settings, keep_private

COMMANDS = {
    "serve": "open the page in this machine's browser, or share it",
    "train": "train a LoRA from a folder of pictures",
    "plan": "measure how long a training will take, and how much memory and disk",
    "dataset": "look through a folder of pictures before it is trained on",
    "generate": "make images with a base model and any number of LoRAs",
    "grid": "make a sheet of images over values of up to three settings",
    "report": "draw and say how strong a LoRA is, and what else it changes",
    "compare": "show two trainings side by side: the settings that differ, and their figures",
    "status": "show trainings, or one training in detail",
    "list": "list the LoRAs in the library",
    "add": "take LoRA files into the library, from here or from the web",
    "inspect": "say what a LoRA file is, and whether it works here and elsewhere",
    "access": "say who may open the page, as whom, and put people out",
    "audit": "show who did what on the page and over the API",
    "tour": "do the whole job on an example set and show what came out",
    "deploy": "put this studio on Hugging Face Spaces",
    "doctor": "check this installation and say what to do about each problem",
    "storage": "show what the studio takes of the disk, and clean up what can be made again",
}
COMPUTING = {"train", "plan", "generate", "grid", "report", "tour"}
"""Commands that ask a model."""
UNREADABLE, SHOWN = re.compile("[\ud800-\udfff]"), 120
"""Letters in Python for bytes of a file's name that the locale lacks; letters of a name in a message."""
BUG, USER_ERROR, STOPPED = 1, 2, 130


class Parser(argparse.ArgumentParser):
    """An argparse parser that reports errors in the one form all our errors have."""

    def error(self, message: str) -> NoReturn:
        self.exit(USER_ERROR, f"error: {message}. See {self.prog} --help.\n")


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="lora-studio",
        description="Train a LoRA from a handful of pictures and make images with it.",
        epilog="lora-studio COMMAND --help explains a command. Start with: lora-studio tour",
    )
    parser.add_argument("--version", action="version", version=f"LoRA Studio {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        importlib.import_module(f"lora_studio.cli.{name}").add_arguments(command)
    return parser


@steady_output()
def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. Usage errors leave through SystemExit(2), argparse's way."""
    started_at = time.monotonic()
    if argv is None and COMPUTING.intersection(sys.argv[1:2]):
        begin_in_cpu_environment()
    parser = build_parser()
    try:
        words = unpack(sys.argv[1:] if argv is None else argv)
    except StudioError as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    arguments = parser.parse_args(words, argparse.Namespace(started_at=started_at))
    if arguments.command is None:
        parser.print_help()
        return USER_ERROR
    _quieten_libraries()
    try:
        keep_private()
        return int(importlib.import_module(f"lora_studio.cli.{arguments.command}").run(arguments))
    except StudioError as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return STOPPED
    except UnicodeEncodeError as error:
        if not UNREADABLE.search(str(error.object)):
            print(_report_bug(error), file=sys.stderr)
            return BUG
        print(f"error: {_unreadable(str(error.object))}", file=sys.stderr)
        return USER_ERROR
    except Exception as error:
        print(_report_bug(error), file=sys.stderr)
        return BUG


def _unreadable(name: str) -> str:
    """A sentence on a name in another encoding than the locale's."""
    shown = name[-SHOWN:].encode("ascii", "replace").decode("ascii")
    return (
        f"The name {shown!r} has letters that this system's language settings can't read. Set PYTHONUTF8=1, "
        "or give the file or folder another name."
    )


def _quieten_libraries() -> None:
    """Our own bar shows the progress; the libraries' would draw over it. Set before they are imported."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")


def _report_bug(error: Exception) -> str:
    """Write the traceback to a log and return sentences that name it. It can't fail."""
    trace = "".join(traceback.format_exception(error))
    sentence = f"This is a bug in LoRA Studio: {''.join(traceback.format_exception_only(error)).strip()}"
    text = f"LoRA Studio {__version__}, Python {sys.version}\n{_without_passwords(sys.argv)}\n\n{trace}"
    try:
        log = Settings.from_environment().home / "logs" / _log_name()
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_bytes(text.encode("utf-8", "backslashreplace"))
    except (OSError, ValueError, StudioError, RuntimeError):  # also a folder that this locale can't name
        return f"{trace}\n{sentence}"
    return f"{sentence}\nThe details are in {log}; please send that file with a report."


def _log_name() -> str:
    return f"bug-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"


def _without_passwords(arguments: Sequence[str]) -> list[str]:
    """The arguments without passwords, for a report that may be sent to others."""
    shown: list[str] = []
    after_it = False
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        is_it = len(name) > 3 and "--password".startswith(name)  # argparse takes beginnings too
        shown.append("…" if after_it else f"{name}=…" if is_it and equals else argument)
        after_it = is_it and not equals
    return shown


if __name__ == "__main__":
    sys.exit(main())
