"""Whatever a person can set, call or receive is documented: what is there is read from the code, so that
something new without its line fails here."""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lora_studio.cli.main import build_parser
from lora_studio.config import config_leaves
from lora_studio.errors import ConfigError
from lora_studio.events import EVENT_CLASSES
from lora_studio.kohya_config.options import OPTIONS
from lora_studio.kohya_config.read_options import read_options
from lora_studio.request import GenerateRequest
from lora_studio.settings import VARIABLES
from scripts.document_parameters import REQUEST_EFFECTS
from scripts.document_reference import FOLDER, pages, subcommands, what_becomes_of
from tests.support.markdown import CODE, rows
from tests.support.serving import CHECKOUT

VARIABLE = re.compile(r"[A-Z][A-Z0-9_]+")
OWN = ("lora_studio", "deploy", "app.py", "launch.py")
READS = {"get", "getenv", "setdefault", "pop"}
OURS_FOR_OTHERS = {
    *("GRADIO_ANALYTICS_ENABLED", "HF_HUB_DISABLE_PROGRESS_BARS", "HF_HUB_DISABLE_TELEMETRY"),
    "PYTHONUTF8",
}
"""Variables that the program sets for its libraries whatever they were."""


def rows_of(name: str) -> set[str]:
    """What stands in code in the first cells of a page's tables."""
    page = CHECKOUT / "docs" / name
    return {code for cells in rows(page) for code in CODE.findall(cells[0])}


@pytest.mark.parametrize("name", sorted(pages()))
def test_the_pages_of_the_reference_are_up_to_date(name: str) -> None:
    assert (FOLDER / name).read_text("utf-8") == pages()[name], "run python -m scripts.document_reference"


def test_the_reference_has_no_page_of_something_gone() -> None:
    assert {page.name for page in FOLDER.iterdir()} == {*pages(), "variables.md"}


def test_each_setting_has_its_row() -> None:
    wanted = {leaf.name for leaf in config_leaves()} | set(GenerateRequest.model_fields)
    assert wanted <= rows_of("parameters.md")
    assert [
        leaf.name for leaf in config_leaves() if not (leaf.help_text and leaf.direction and leaf.cost)
    ] == []


def test_the_settings_to_change_are_settings() -> None:
    page = (CHECKOUT / "docs" / "parameters.md").read_text("utf-8")
    advice = page.partition("## When to change what")[2].partition("## Training")[0]
    named = set(CODE.findall(advice))
    assert len(named) > 20
    assert named <= {leaf.name for leaf in config_leaves()}
    assert list(REQUEST_EFFECTS) == list(GenerateRequest.model_fields)


def test_each_event_has_its_part() -> None:
    page = pages()["events.md"]
    assert [kind for kind in EVENT_CLASSES if f"\n## {kind}\n" not in page] == []
    assert [kind for kind, cls in EVENT_CLASSES.items() if not (cls.__doc__ or "").strip()] == []


def test_each_option_of_the_command_line_says_what_it_does() -> None:
    actions = [
        (words, action)
        for words, parser in subcommands(build_parser(), ())
        for action in parser._actions
        if not isinstance(action, argparse._SubParsersAction)
    ]
    assert len(actions) > 150
    assert [(words, action.dest) for words, action in actions if not action.help] == []


def variables_read() -> Iterator[tuple[str, str]]:
    """(variable, file) for each name that our code looks up in an environment, or keeps to look up."""
    for place in OWN:
        for file in [CHECKOUT / place] if place.endswith(".py") else sorted((CHECKOUT / place).rglob("*.py")):
            yield from ((name, file.name) for name in _names(file))


def _names(file: Path) -> Iterator[str]:
    text = file.read_text("utf-8")
    for node in ast.walk(ast.parse(text)) if "env" in text else ():
        match node:
            case ast.Call(
                func=ast.Attribute(value=owner, attr=verb), args=[ast.Constant(value=str(name)), *_]
            ):
                looked = verb in READS and _is_environment(owner)
            case ast.Subscript(value=owner, slice=ast.Constant(value=str(name))):
                looked = _is_environment(owner)
            case _:
                continue
        if looked and VARIABLE.fullmatch(name):
            yield name


def _is_environment(node: ast.expr) -> bool:
    words = {"env", "environ", "environment"}
    return (isinstance(node, ast.Name) and node.id in words) or (
        isinstance(node, ast.Attribute) and node.attr in words
    )


def test_each_variable_has_its_row() -> None:
    read = {name for name, _ in variables_read()}
    assert {"SUPABASE_URL", "RANK", "LORA_STUDIO_TORCH", "GRADIO_ROOT_PATH"} <= read
    documented = rows_of("reference/variables.md")
    assert (read | VARIABLES) - OURS_FOR_OTHERS - documented == set()
    assert {name for name in documented if name.startswith("LORA_STUDIO_")} == VARIABLES


BASE = {"pretrained_model_name_or_path": "starter", "network_module": "networks.lora", "max_train_steps": 10}


def switched_on(option: str) -> object:
    match OPTIONS[option]:
        case bool(value):
            return not value
        case int(value) | float(value):
            return value + 1
        case _:
            return 3 if option.startswith("initial") else "something"


@pytest.mark.parametrize("option", [name for name in OPTIONS if "refused" in what_becomes_of(name)])
def test_what_is_said_to_be_refused_is(option: str) -> None:
    with pytest.raises(ConfigError, match=option):
        read_options({**BASE, option: switched_on(option)})


def test_what_is_said_to_change_nothing_changes_nothing() -> None:
    passed = [name for name in OPTIONS if "changes nothing" in what_becomes_of(name)]
    assert len(passed) > 50
    taken = read_options({**BASE, **{name: switched_on(name) for name in passed}})
    assert taken.values == read_options(BASE).values
