"""`lora-studio dataset`: a folder of pictures looked through before it is trained on."""

from __future__ import annotations

import argparse

from lora_studio.cli.dataset import check_command, fix_command

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    check = actions.add_parser("check", help=check_command.SUMMARY, description=check_command.SUMMARY)
    check_command.add_arguments(check)
    fix = actions.add_parser("fix", help=fix_command.SUMMARY, description=fix_command.SUMMARY)
    fix_command.add_arguments(fix)


def run(arguments: argparse.Namespace) -> int:
    return (fix_command if arguments.action == "fix" else check_command).run(arguments)
