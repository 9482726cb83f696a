"""Code that nothing but a test calls isn't kept."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.support.serving import CHECKOUT

WORD, DEFINITION = re.compile(r"\w+"), re.compile(r"\b(?:def|class)\s+(\w+)")
DEFINED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def called(tests: Iterable[str]) -> Iterator[str]:
    """What tests import from elsewhere, or ask of an object."""
    for text in tests:
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.Attribute):
                yield node.attr


def for_tests_alone(code: Iterable[str], tests: Iterable[str]) -> set[str]:
    """Functions, methods and classes that the code names once, where it defines them, and tests do."""
    texts = list(code)
    words = Counter(word for text in texts for word in WORD.findall(text))
    once = {word for word, count in words.items() if count == 1 and not word.startswith("__")}
    # Only what may tell something is parsed: it takes a hundred times as long as looking for words.
    defining = [text for text in texts if not once.isdisjoint(DEFINITION.findall(text))]
    nodes = (node for text in defining for node in ast.walk(ast.parse(text)))
    named = {node.name for node in nodes if isinstance(node, DEFINED)} & once
    return named & set(called(text for text in tests if not named.isdisjoint(WORD.findall(text))))


def read(files: Iterable[Path]) -> list[str]:
    return [file.read_text("utf-8") for file in sorted(files)]


def test_nothing_is_kept_for_tests_alone() -> None:
    code = read([CHECKOUT / "app.py", *(CHECKOUT / "lora_studio").rglob("*.py")])
    outside = read(
        file for folder in ("scripts", "recipes", "deploy") for file in (CHECKOUT / folder).rglob("*.py")
    )
    tests = read((CHECKOUT / "tests").rglob("test_*.py"))
    found = for_tests_alone(code, tests)
    assert not found or found - set(called(outside)) == set()


def test_the_check_can_fail() -> None:
    code = ["def used(): pass\ndef alone(): pass", "used()\nclass Kept:\n    def left(self): pass\nKept()"]
    tests = ["from a import used, alone, Kept", "x.left()"]
    assert for_tests_alone(code, tests) == {"alone", "left"}
    assert for_tests_alone(code, []) == set()
