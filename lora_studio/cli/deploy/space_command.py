"""`lora-studio deploy space`: this studio as a Hugging Face Space."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Sequence

from lora_studio.cli.deploy.space_files import ZERO_GPU, checked_hardware, space_files
from lora_studio.cli.deploy.space_upload import MOUNTED, SpacePlan, deploy
from lora_studio.errors import ConfigError
from lora_studio.formatting import size

NAME = re.compile(r"(?:[A-Za-z0-9][\w.-]{0,95}/)?[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
BUCKET = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
LONGEST_VALUE = 10_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="name of the Space, as me/lora-studio or lora-studio")
    parser.add_argument("--dry-run", action="store_true", help="list what would go up; asks no network")
    parser.add_argument("--json", action="store_true", help="with --dry-run: print the list as JSON")
    parser.add_argument(
        "--private", action="store_true", help="only you can see the Space, also one that was public"
    )
    parser.add_argument(
        "--hardware",
        default="cpu-basic",
        help=f"the Hub's name of it: cpu-basic (default), {ZERO_GPU} for ZeroGPU, t4-small, l4x1, ...",
    )
    parser.add_argument(
        "--storage", default="", metavar="OWNER/BUCKET", help=f"a storage bucket, mounted as {MOUNTED}"
    )
    parser.add_argument(
        "--sleep", metavar="MINUTES", help="let paid hardware sleep after so long without use"
    )
    parser.add_argument(
        "--secret",
        action="append",
        default=[],
        metavar="NAME",
        help="hand a variable of your environment on as a secret, as LORA_STUDIO_PASSWORD",
    )
    parser.add_argument(
        "--variable",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="set a variable, which all can read",
    )
    parser.add_argument("--replace", action="store_true", help="also over the files of another program")


def run(arguments: argparse.Namespace) -> int:
    plan = read_plan(arguments)
    if arguments.dry_run:
        show(plan, as_json=arguments.json)
        return 0
    address, is_new = deploy(plan, lambda sentence: print(sentence, file=sys.stderr, flush=True))
    print(address)
    if is_new and "LORA_STUDIO_PASSWORD" not in plan.secrets and "LORA_STUDIO_PUBLIC" not in plan.variables:
        print(
            "Log in with Hugging Face; there is a password too, made up, in the Space's log.", file=sys.stderr
        )
    return 0


def read_plan(arguments: argparse.Namespace) -> SpacePlan:
    """The Space that the options describe. Raises ConfigError."""
    if not NAME.fullmatch(arguments.name):
        raise ConfigError(
            f"{arguments.name[:60]!r} can't be the name of a Space.",
            "Use letters, digits, - _ and ., with your account in front if you like: me/lora-studio.",
            field="name",
        )
    if arguments.storage and not BUCKET.fullmatch(arguments.storage):
        raise ConfigError(
            f"--storage: {arguments.storage[:60]!r} is no bucket.", "Write owner/bucket.", field="storage"
        )
    hardware = checked_hardware(arguments.hardware)
    return SpacePlan(
        name=arguments.name,
        files=space_files(hardware),
        hardware=hardware,
        private=arguments.private,
        bucket=arguments.storage,
        sleep_seconds=_seconds(arguments.sleep),
        secrets=dict(_secrets(arguments.secret)),
        variables=dict(_variables(arguments.variable)),
        replace=arguments.replace,
    )


def show(plan: SpacePlan, *, as_json: bool) -> None:
    files = {file.path: file.size for file in plan.files}
    if as_json:
        described = {
            "name": plan.name,
            "hardware": plan.hardware,
            "private": plan.private,
            "storage": plan.bucket,
            "secrets": sorted(plan.secrets),
            "variables": plan.environment,
            "files": files,
        }
        print(json.dumps(described, indent=2))
        return
    for path, count in files.items():
        print(f"{size(count):>9}  {path}")
    print(f"{len(files)} files, {size(sum(files.values()))}, would go to the Space {plan.name}.")
    seen = "private" if plan.private else "public, unless it is private already"
    print(f"Hardware {plan.hardware}, {seen}.")
    if plan.bucket:
        print(f"Storage bucket {plan.bucket}, mounted as {MOUNTED}.")
    for name, value in plan.environment.items():
        print(f"Variable {name}={value}")
    for name in plan.secrets:
        print(f"Secret   {name}")
    print("Nothing was sent.")


def _seconds(minutes: str | None) -> int | None:
    if minutes is None:
        return None
    if not re.fullmatch(r"[0-9]{1,5}", minutes) or not int(minutes):
        raise ConfigError(
            f"--sleep: {minutes[:20]!r} is no number of minutes.", "Write one, as 30.", field="sleep"
        )
    return 60 * int(minutes)


def _secrets(names: Sequence[str]) -> list[tuple[str, str]]:
    for name in names:
        if not VARIABLE.fullmatch(name) or not os.environ.get(name):
            raise ConfigError(
                f"--secret {name[:60]}: there is no such variable in your environment.",
                "Set it, then name it here; its value is never written on the command line.",
                field="secret",
            )
    return [(name, os.environ[name]) for name in names]


def _variables(given: Sequence[str]) -> list[tuple[str, str]]:
    pairs = [text.partition("=") for text in given]
    for name, equals, value in pairs:
        if not equals or not VARIABLE.fullmatch(name) or len(value) > LONGEST_VALUE:
            raise ConfigError(f"--variable {name[:60]!r} is none.", "Write NAME=VALUE.", field="variable")
    return [(name, value) for name, _, value in pairs]
