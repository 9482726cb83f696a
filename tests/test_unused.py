"""Code that nothing but a test calls isn't kept."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.support.serving import CHECKOUT

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
    """Functions, methods and classes whose names stand in the code once, where they are defined, and in
    tests."""
    texts = list(code)
    words = Counter(word for text in texts for word in re.findall(r"\w+", text))
    named = {node.name for text in texts for node in ast.walk(ast.parse(text)) if isinstance(node, DEFINED)}
    return {name for name in named & set(called(tests)) if words[name] == 1 and not name.startswith("__")}


def read(files: Iterable[Path]) -> list[str]:
    return [file.read_text("utf-8") for file in sorted(files)]


def test_nothing_is_kept_for_tests_alone() -> None:
    code = read([CHECKOUT / "app.py", *(CHECKOUT / "lora_studio").rglob("*.py")])
    outside = read(
        file for folder in ("scripts", "recipes", "deploy") for file in (CHECKOUT / folder).rglob("*.py")
    )
    tests = read((CHECKOUT / "tests").rglob("test_*.py"))
    assert for_tests_alone(code, tests) - set(called(outside)) == set()


def test_the_check_can_fail() -> None:
    code = ["def used(): pass\ndef alone(): pass", "used()\nclass Kept:\n    def left(self): pass\nKept()"]
    tests = ["from a import used, alone, Kept", "x.left()"]
    assert for_tests_alone(code, tests) == {"alone", "left"}
    assert for_tests_alone(code, []) == set()
