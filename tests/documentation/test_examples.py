"""Each example of the documentation is checked, run by the test that it names, or says why it is not.

A fenced block is checked by its language. What can't be, or is run as a whole, has a comment above it:
`<!-- run by tests/….py::test_name -->` or `<!-- not run: why -->`.
"""

from __future__ import annotations

import argparse
import ast
import configparser
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec

import pytest
import yaml

from lora_studio.cli.kohya_train.pasted_command import unpack
from lora_studio.cli.main import COMMANDS, build_parser
from lora_studio.cli.train import read_wanted
from scripts.document_reference import subcommands
from tests.support.markdown import CODE, Example, documentation, examples, name_of, prose
from tests.support.serving import CHECKOUT

OWN_TEST = re.compile(r"run by (tests/[\w/]+\.py)::(\w+)")
PLACEHOLDER = re.compile(r"[A-Z]{2,}|…|\.\.\.|<[\w-]+>")
"""What stands in prose for something of the reader's: NAME, <id>."""
READERS = {
    "json": json.loads,
    "toml": tomllib.loads,
    "yaml": yaml.safe_load,
    "ini": lambda text: configparser.ConfigParser(interpolation=None).read_string(text),
    "python": ast.parse,
    "mermaid": lambda text: text.split()[0] in {"flowchart", "sequenceDiagram", "stateDiagram-v2"},
}
OTHERWISE = ("config", "kohya_config", "resume", "whole_command")
"""Ways to say what to train without pictures, name and kind."""
EXAMPLES = [example for page in documentation() for example in examples(page)]
PARSER = build_parser()
BELOW = {" ".join(words): parser for words, parser in subcommands(PARSER, ())}


def where(example: Example) -> str:
    return f"{example.page}:{example.line}"


def command_lines(text: str) -> Iterator[str]:
    """The commands of a shell block: comments left out, lines that a backslash joins put together."""
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            yield line.strip()


def is_of(command: str, example: Example) -> bool:
    return example.language == "bash" and any(
        line.startswith(command) for line in command_lines(example.text)
    )


def problem_of(line: str) -> str:
    """A sentence on a command line that this checkout wouldn't take; empty for one that it would."""
    words = shlex.split(line, comments=True)
    match words:
        case ["lora-studio", *arguments]:
            taken = PARSER.parse_args(unpack(arguments))
            if taken.command == "train" and not any(getattr(taken, name) for name in OTHERWISE):
                read_wanted(taken)
        case ["python" | ".venv/bin/python", "-m", module, *_]:
            return "" if find_spec(module) else f"there is no module {module}"
        case ["python" | "python3", file, *_]:
            return "" if (CHECKOUT / file).is_file() else f"there is no {file}"
        case [file, *_] if (CHECKOUT / file).is_file():
            return ""
        case _:
            return "no command of ours: say above the block which test runs it, or why none does"
    return ""


@pytest.mark.parametrize("example", EXAMPLES, ids=where)
def test_each_example_is_checked_or_says_why_not(example: Example) -> None:
    if named := OWN_TEST.fullmatch(example.remark):
        tree = ast.parse((CHECKOUT / named[1]).read_text("utf-8"))
        assert named[2] in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        return
    if example.remark:
        assert len(example.remark) > len("not run: why")
        return
    match example.language:
        case "bash":
            said = [(line, problem_of(line)) for line in command_lines(example.text)]
            assert [(line, problem) for line, problem in said if problem] == []
        case "python":
            pytest.fail("code that no test runs: name one above the block, or say why not")
        case "":
            assert [line for line in command_lines(example.text) if line.startswith("lora-studio")] == []
        case language:
            assert READERS[language](example.text) is not False


@pytest.mark.parametrize("example", [e for e in EXAMPLES if e.language == "python"], ids=where)
def test_each_piece_of_python_is_python(example: Example) -> None:
    assert ast.parse(example.text).body


def test_there_are_examples_of_each_sort() -> None:
    assert {example.language for example in EXAMPLES} >= {"bash", "python", "json", "toml", "yaml", "mermaid"}
    assert sum(is_of("lora-studio", example) for example in EXAMPLES) >= 8
    assert any(OWN_TEST.fullmatch(example.remark) for example in EXAMPLES)


def test_a_command_that_is_none_is_found() -> None:
    assert problem_of("launch-studio now")
    assert problem_of("python -m scripts.no_such_module")
    with pytest.raises(SystemExit):
        problem_of("lora-studio train --no-such-option")


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    return {name for action in parser._actions for name in action.option_strings}


def commands_in_prose() -> Iterator[tuple[str, str]]:
    for page in documentation():
        for code in CODE.findall(prose(page)):
            if code.startswith("lora-studio ") and not code.startswith(
                ("lora-studio COMMAND", "lora-studio --")
            ):
                yield name_of(page), code


def test_commands_in_prose_are_commands() -> None:
    """By their names and options alone: what they are about is often left out there."""
    strange = []
    for page, code in commands_in_prose():
        words = PLACEHOLDER.sub("X", code).split()[1:]
        name = next((n for n in (" ".join(words[:2]), words[0]) if n in BELOW), "")
        options = {word.partition("=")[0] for word in words if word.startswith("--")}
        if not name or not options <= options_of(BELOW[name]):
            strange.append((page, code))
    assert strange == []
    assert {code.split()[1] for _, code in commands_in_prose()} >= {"train", "doctor", "report"}
    assert set(COMMANDS) <= set(BELOW)
