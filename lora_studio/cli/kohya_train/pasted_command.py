"""A command line of sd-scripts behind `lora-studio train`: whole, or single options of it among ours."""

from __future__ import annotations

import argparse
import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from lora_studio.config import config_leaves
from lora_studio.errors import ConfigError
from lora_studio.kohya_config.options import OPTIONS

OF_OPTION = "sd-scripts:"
"""Prefix of argparse's names for options that are sd-scripts' and no settings of ours."""
LAUNCHERS = re.compile(r"!?(accelerate|python[\d.]*|py|torchrun|\S*\.py)(\.exe)?", re.IGNORECASE)
PROCESSES = frozenset({"__num_processes", "__nproc_per_node"})
"""The launchers' options for the number of processes, every hyphen an underscore."""
SCRIPTS = frozenset({"train_network.py", "sdxl_train_network.py"})
LINE_ENDS = frozenset({"\\", "^", "`"})
"""Line ends of other shells, left in a pasted command of several lines."""
WHOLE = "--sd-scripts-command"
LISTS = frozenset({"network_args"})
OURS = frozenset({"config_file", "resume"})
"""Options with a meaning of their own here."""


def unpack(argv: Sequence[str]) -> list[str]:
    """The arguments without launcher and script. Raises ConfigError for a script for something else."""
    words = list(argv)
    if len(words) < 2 or words[0] != "train" or not LAUNCHERS.fullmatch(_name(words[1])[:64]):
        return words
    place = next((n for n, word in enumerate(words) if word.lower().endswith(".py")), 0)
    script = _name(words[place])
    if script not in SCRIPTS:
        raise ConfigError(
            f"{script} is not a script that LoRA Studio can stand in for."
            if place
            else "No script of sd-scripts is named.",
            "train_network.py and sdxl_train_network.py train LoRAs for Stable Diffusion.",
        )
    rest = [word for word in words[place + 1 :] if not _is_line_end(word)]
    return ["train", WHOLE, *_processes(words[1:place]), *rest]


def _processes(launcher: Sequence[str]) -> list[str]:
    """The option for as many processes as the launcher would start: so many batches at once."""
    words = [part for word in launcher for part in word.split("=", 1)]
    for name, value in itertools.pairwise(words):
        if name.replace("-", "_") in PROCESSES and value.isdecimal() and value != "1":
            return ["--num_processes", value]
    return []


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of sd-scripts that are no settings of ours."""
    parser.add_argument(WHOLE, action="store_true", dest="whole_command", help=argparse.SUPPRESS)
    ours = {leaf.name for leaf in config_leaves()} | OURS
    for name, default in OPTIONS.items():
        if name in ours:
            continue
        form: dict[str, Any] = {"dest": f"{OF_OPTION}{name}", "default": argparse.SUPPRESS}
        if default is False:
            form |= {"nargs": "?", "const": "true"}
        elif name in LISTS:
            form["nargs"] = "*"
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS, **form)


def their_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The given options of sd-scripts, by name."""
    return {
        name.removeprefix(OF_OPTION): value
        for name, value in vars(arguments).items()
        if name.startswith(OF_OPTION)
    }


def is_whole(arguments: argparse.Namespace, theirs: Mapping[str, Any]) -> bool:
    """Whether the whole command is sd-scripts', so that missing options have its defaults."""
    if arguments.whole_command:
        return True
    ours = (arguments.images, arguments.kind, arguments.config, arguments.kohya_config)
    return "network_module" in theirs and not any(ours)


def _is_line_end(word: str) -> bool:
    return bool(word) and word.strip() in {"", *LINE_ENDS}


def _name(path: str) -> str:
    return PurePath(path.replace("\\", "/")).name
