"""`lora-studio dataset`: a folder of pictures looked through before it is trained on."""

from __future__ import annotations

import argparse

from lora_studio.cli.dataset import caption_command, check_command, export_command, fix_command

__all__ = ["add_arguments", "run"]
COMMANDS = {
    "check": check_command,
    "fix": fix_command,
    "caption": caption_command,
    "export": export_command,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, command in COMMANDS.items():
        action = actions.add_parser(name, help=command.SUMMARY, description=command.SUMMARY)
        command.add_arguments(action)


def run(arguments: argparse.Namespace) -> int:
    return COMMANDS[arguments.action].run(arguments)
