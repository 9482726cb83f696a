"""Write docs/reference/ from the code: commands, events, sd-scripts' options, what Python calls.

python -m scripts.document_reference [--check]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from lora_studio.catalog import BASES
from lora_studio.catalog.catalog_base import Base
from lora_studio.catalog.licences import licence_named
from lora_studio.cli.main import build_parser
from lora_studio.config import config_leaves
from lora_studio.events import EVENT_CLASSES, PHASES
from lora_studio.kohya_config.option_forms import SPECIAL
from lora_studio.kohya_config.options import COUNTED_IN_EPOCHS, OPTIONS, PASSED_OVER
from scripts.document_parameters import table
from scripts.document_python import python_page

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "reference"
NOTE = (
    "This page is made from the code: `python -m scripts.document_reference`. "
    "A test fails when it is out of date."
)
SETTINGS_TOO = (
    "Each setting of [parameters.md](../parameters.md) is an option, too, by its name: "
    "`--network_dim 8 --flip_aug`. So are sd-scripts' [options](sd-scripts-options.md)."
)
COMMANDS_INTRODUCTION = f"""\
# The command line

{NOTE}

`lora-studio COMMAND --help` says the same. Exit codes: 0 done, 1 a bug of ours, 2 something you can put
right, 130 stopped; `status` has [codes of its own](../status.md#asking). Examples: [the
guide](../guide/command-line.md).
"""
EVENTS_INTRODUCTION = f"""\
# What a run says

{NOTE}

A training or a generation reports facts while it runs. Each has a JSON form with its `kind`:
`{{"kind": "StepDone", "step": 12, "total_steps": 200, "loss": 0.09}}`. A training keeps them in
`jobs/<id>/events.jsonl` in the home folder, a line each with the time (`at`), and as sentences in `log.txt`
beside it; a child process and a rented machine send the same lines. Readers pass over keys that they do not
know.
"""
BASES_INTRODUCTION = f"""\
# Base models

{NOTE}

Those that can be chosen by name. *Graphics card* is the memory with which LoRAs are trained at the base's own
size; with [less](../guide/trouble.md#out-of-memory) it is slower. What each brings along for a training is in
[parameters.md](../parameters.md#base-models), and [which for what](../guide/bases.md) in the guide.
The sentence on a licence is ours: the text itself, on the base's page, counts.
"""
OPTIONS_INTRODUCTION = f"""\
# Options of sd-scripts

{NOTE}

What becomes of each option of `train_network.py` and its kin in an argument TOML, behind `lora-studio train`,
or in a preset. [Coming from sd-scripts](../kohya.md) explains it, and says what `network_args` may hold.
**Refused** ones are so only when they are switched on, and `--ignore-unknown` passes over them.
"""


def pages() -> dict[str, str]:
    """The whole text of each page, by its file's name."""
    return {
        "commands.md": _commands(),
        "events.md": _events(),
        "bases.md": _bases(),
        "sd-scripts-options.md": _options(),
        "python.md": python_page(NOTE),
    }


def _commands() -> str:
    parts = [COMMANDS_INTRODUCTION]
    for words, parser in subcommands(build_parser(), ()):
        parts += [f"{'#' * (1 + len(words))} {' '.join(words)}", "", parser.description or "", ""]
        rows = list(_option_rows(parser))
        if rows:
            parts += [*table(("option", "what it does"), rows), ""]
        if any(action.help == argparse.SUPPRESS for action in parser._actions):
            parts += [SETTINGS_TOO, ""]
    return "\n".join(parts)


def subcommands(
    parser: argparse.ArgumentParser, words: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], argparse.ArgumentParser]]:
    """The commands below `parser`, each with the words that call it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                yield (*words, name), command
                yield from subcommands(command, (*words, name))


def _option_rows(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    formatter = parser._get_formatter()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction | argparse._HelpAction):
            continue
        if action.help != argparse.SUPPRESS:
            called = ", ".join(f"`{name}`" for name in action.option_strings)
            value = formatter._format_args(action, _placeholder(action)) if action.nargs != 0 else ""
            shown = f"{called} `{value}`" if called and value else called or f"`{value}`"
            yield shown, formatter._expand_help(action) if action.help else ""


def _placeholder(action: argparse.Action) -> str:
    if action.choices is not None and not action.metavar:
        return "{" + ",".join(map(str, action.choices)) + "}"
    return (action.dest.upper() if action.option_strings else action.dest).replace(":", "_")


def _events() -> str:
    parts = [EVENTS_INTRODUCTION]
    for kind, cls in EVENT_CLASSES.items():
        parts += [f"## {kind}", "", " ".join((cls.__doc__ or "").split()), ""]
        rows = ((f"`{field.name}`", f"`{field.type}`", _default(field.default)) for field in fields(cls))
        parts += [*table(("field", "type", "if it is left out"), rows), ""]
    parts += ["## Phases", "", "`phase` of PhaseAdvanced, and `phases` of Started:", ""]
    phases = ((f"`{name}`", phase.title, _share(phase.share)) for name, phase in PHASES.items())
    return "\n".join([*parts, *table(("phase", "on the page", "of a training's bar"), phases), ""])


def _default(value: Any) -> str:
    if value is MISSING:
        return "never left out"
    return "empty" if value in ("", (), None) else f"`{value}`"


def _share(share: tuple[int, int]) -> str:
    return f"{share[0]} to {share[1]} %" if share[1] else "none"


def _bases() -> str:
    rows = (
        (
            f"{base.title} (`{base.name}`)",
            base.note,
            f"{base.native_size} px",
            f"{base.download_bytes / 1e9:.1f} GB" if base.download_bytes else "in the box",
            _card(base),
            _licence(base.licence),
        )
        for base in BASES.values()
    )
    head = ("base", "what it draws", "size", "download", "graphics card", "licence")
    return "\n".join([BASES_INTRODUCTION, *table(head, rows), ""])


def _card(base: Base) -> str:
    if base.card_gb:
        return f"{base.card_gb} GB"
    if base.train_instead:
        return f"as {base.train_instead}"
    return "not measured" if base.download_bytes else "none is needed"


def _licence(name: str) -> str:
    licence = licence_named(name)
    return f"{name}. {licence.restrictions}" if licence else name


def _options() -> str:
    rows = ((f"`{name}`", what_becomes_of(name)) for name in sorted(OPTIONS))
    return "\n".join([OPTIONS_INTRODUCTION, *table(("option", "here"), rows), ""])


def what_becomes_of(option: str) -> str:
    """A sentence on an option of sd-scripts."""
    if option in COUNTED_IN_EPOCHS:
        return f"counted in steps by the pictures: `{COUNTED_IN_EPOCHS[option]}`"
    if any(leaf.name == option for leaf in config_leaves()):
        form = ", read in sd-scripts' form" if option in SPECIAL else ""
        return f"[the setting of that name](../parameters.md){form}"
    if option in SPECIAL:
        return "used: it decides settings that have other names here ([how](../kohya.md))"
    if option in PASSED_OVER:
        return "changes nothing that is learned here: named in a note"
    return "**refused**"


def main() -> int:
    stale = []
    for name, text in pages().items():
        page = FOLDER / name
        if not page.is_file() or page.read_text("utf-8") != text:
            stale.append(name)
            if "--check" not in sys.argv[1:]:
                page.write_text(text, "utf-8")
    if stale and "--check" in sys.argv[1:]:
        print(
            f"docs/reference/: {', '.join(stale)} out of date; python -m scripts.document_reference",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
