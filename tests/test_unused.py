"""Code that nothing but a test would call isn't kept."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator

from tests.support.serving import CHECKOUT

CALLED_BY_OTHERS = {"get_lr": "torch, of each of its schedules", "writelines": "whoever writes to a stream"}


def named(tree: ast.Module) -> Iterator[str]:
    """Functions, methods and classes that have to be called by name: a decorator may register the others."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            registered = {ast.unparse(one).split("(")[0] for one in node.decorator_list}
            special = node.name.startswith("__") or node.name.startswith(("do_", "visit_"))
            if not special and not registered & {"field_validator", "model_validator"}:
                yield node.name


def unused(texts: list[str]) -> set[str]:
    """Names that stand where they are defined and nowhere else."""
    words = Counter(word for text in texts for word in re.findall(r"\w+", text))
    return {name for text in texts for name in named(ast.parse(text)) if words[name] == 1}


def test_nothing_is_kept_for_tests_alone() -> None:
    files = [CHECKOUT / "app.py", CHECKOUT / "launch.py"]
    for folder in ("lora_studio", "scripts", "recipes"):
        files += sorted((CHECKOUT / folder).rglob("*.py"))
    assert unused([file.read_text("utf-8") for file in files]) == set(CALLED_BY_OTHERS)


def test_the_check_can_fail() -> None:
    assert unused(["def used(): pass", "used()\nclass Left:\n    def alone(self): pass"]) == {"Left", "alone"}
