"""`lora-studio inspect`: what a LoRA file is, whether it works here and elsewhere, and repaired copies."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from lora_studio.cli.console.ctrl_c import stop_request
from lora_studio.cli.console.progress_bar import Progress
from lora_studio.errors import ConfigError, ModelFileError
from lora_studio.files import expanded
from lora_studio.lora.repair.repair_request import HELP, MOST_MERGE_RATIO
from lora_studio.parsing.numbers import read_decimal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "\n".join(["repairs for --fix:", *(f"  {name}: {text}" for name, text in HELP.items())])
    parser.add_argument("file", metavar="FILE", help="a .safetensors file from anywhere")
    parser.add_argument(
        "--base",
        metavar="NAME",
        default="",
        help="also measure it on this base model: how large its change is beside the base's weights, and "
        "how much of it survives merging into 8 bits",
    )
    parser.add_argument(
        "--fix",
        metavar="REPAIR=VALUE",
        nargs="+",
        default=[],
        help="write a repaired copy, as --fix spelling=kohya save_precision=fp16 new_rank=16",
    )
    parser.add_argument(
        "--merge",
        metavar="FILE[=RATIO]",
        nargs="+",
        default=[],
        help="write one file that adds these LoRAs to FILE; exact, or smaller with --fix new_rank=...",
    )
    parser.add_argument("--ratio", type=float, default=1.0, help="FILE's own ratio in --merge (default: 1)")
    parser.add_argument("--save_to", metavar="PATH", help="the new file (default: beside FILE)")
    parser.add_argument("--json", action="store_true", help="print all that is known as JSON")


def run(arguments: argparse.Namespace) -> int:
    from lora_studio.cli.inspect.report_text import report_lines
    from lora_studio.jobs.lora_files.lora_inspector import inspect_on
    from lora_studio.settings import Settings

    path = existing(arguments.file)
    notes: list[str] = []
    if arguments.fix or arguments.merge:
        path, sentences = _new_file(path, arguments)
        if sentences is None:
            return 130
        notes = sentences
    elif arguments.save_to:
        raise ConfigError("--save_to goes with --fix or --merge.", "Say what to repair.")
    report = inspect_on(path, arguments.base, Settings.from_environment())
    if arguments.json:
        print(json.dumps({"file": str(path), "notes": notes, "report": asdict(report)}, indent=2))
        return 0
    if arguments.fix or arguments.merge:
        print("\n".join([f"Written: {path}", *notes, ""]))
    print("\n".join(report_lines(report)))
    return 0


def existing(name: str) -> Path:
    """The path of a file that is there. Raises ModelFileError."""
    path = expanded(name)
    if not path.is_file():
        raise ModelFileError(f"There is no file {path}.", "Check the path.", path=path)
    return path


def _new_file(path: Path, arguments: argparse.Namespace) -> tuple[Path, list[str] | None]:
    """Write the repaired or merged file; its path, and what was left out, None when it was stopped."""
    from lora_studio.lora.lora_folder import free_path
    from lora_studio.lora.repair.repair_request import RepairRequest
    from lora_studio.lora.repair.repaired_file import merge_files, repair_file

    request = RepairRequest.from_values(_values(arguments.fix))
    beside = path.with_name(f"{path.stem}-{'merged' if arguments.merge else 'repaired'}.safetensors")
    target = expanded(arguments.save_to) if arguments.save_to else free_path(beside)
    if target.suffix.lower() != ".safetensors":
        raise ConfigError(f"{target.name} doesn't end in .safetensors.", "Give the new file such a name.")
    others = [_with_ratio(one) for one in arguments.merge]
    progress = Progress(sys.stderr)
    with stop_request("Stopping; nothing is written.") as asked:
        try:
            if not others:
                return target, repair_file(path, request, target, "", progress.show, asked)
            files = [(path, arguments.ratio), *others]
            return target, merge_files(files, request, target, "", progress.show, asked)
        finally:
            progress.close()


def _values(given: Sequence[str]) -> dict[str, str]:
    """The repairs as typed: a name alone switches it on."""
    pairs = [one.partition("=") for one in given]
    return {name: value if equals else "true" for name, equals, value in pairs}


def _with_ratio(given: str) -> tuple[Path, float]:
    """A file with its ratio; a name with an equals sign in it is a file first."""
    name, equals, ratio = given.rpartition("=")
    if not equals or expanded(given).is_file():
        return existing(given), 1.0
    return existing(name), read_decimal(ratio, "merge", least=-MOST_MERGE_RATIO, most=MOST_MERGE_RATIO)
