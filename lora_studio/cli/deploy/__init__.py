"""`lora-studio deploy`: put this studio somewhere else."""

from __future__ import annotations

import argparse

from lora_studio.cli.deploy import space_command

TARGETS = {"space": (space_command, "put this studio on Hugging Face Spaces, or renew it there")}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    targets = parser.add_subparsers(dest="target", metavar="TARGET", required=True)
    for name, (command, summary) in TARGETS.items():
        target = targets.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        command.add_arguments(target)


def run(arguments: argparse.Namespace) -> int:
    return TARGETS[arguments.target][0].run(arguments)
