"""What stands in docstrings, and where there must be one."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator

from tests.support.rules.source import Check, Source

POOR_OPENINGS = {
    *("what", "which", "who", "whose", "where", "when", "how", "why", "as", "so", "than", "such", "if"),
    *("it", "its", "they", "them", "their", "this", "that", "these", "those", "there", "here", "then"),
    *("of", "by", "on", "for", "with", "without", "from", "in", "at", "to", "after", "before", "inside"),
    *("and", "but", "also", "not", "because", "meanwhile", "raises", "returns"),
}
"""Words that begin neither a noun phrase nor an imperative."""
SELF_EXPLAINING_LINES = 8
"""A public function with a longer body has a docstring."""


def docstrings(source: Source) -> Iterator[tuple[int, str]]:
    """Line and text of all docstrings, those of constants included."""
    for node in source.nodes:
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            for statement in node.body:
                value = statement.value if isinstance(statement, ast.Expr) else None
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    yield statement.lineno, inspect.cleandoc(value.value)


def poor_openings(source: Source) -> Iterator[str]:
    for line, text in docstrings(source):
        words = re.findall(r"\S+\b", text.lower())[:2]
        if words[:1] and (words[0] in POOR_OPENINGS or words == ["the", "same"]):
            yield f"{source.path}:{line}: neither a noun phrase nor an imperative: {text[:50]}"


def missing_docstrings(source: Source) -> Iterator[str]:
    """Public classes but plain exceptions, and public functions too long to explain themselves."""
    if not source.is_in_package or source.path == "lora_studio/ui/endpoints/schemas.py":
        return  # endpoints describe their schemas
    for node in source.tree.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef) or node.name.startswith("_"):
            continue
        is_class = isinstance(node, ast.ClassDef)
        lines = SELF_EXPLAINING_LINES if is_class else 1 + (node.end_lineno or 0) - node.body[0].lineno
        is_plain = isinstance(node.body[0], ast.Pass) or lines < SELF_EXPLAINING_LINES
        is_command = source.path.startswith("lora_studio/cli/") and not is_class
        if ast.get_docstring(node) is None and not is_plain and not is_command:
            yield f"{source.path}:{node.lineno}: {node.name} has no docstring"


VIOLATIONS: dict[Check, list[tuple[str, str]]] = {
    poor_openings: [
        ("lora_studio/lora/names.py", '"""What a LoRA is called."""'),
        ("lora_studio/lora/names.py", 'def find():\n    """The same, by its title."""'),
        ("lora_studio/lora/names.py", 'LONGEST = 60\n"""Of a slug, in letters."""'),
        ("lora_studio/lora/names.py", 'class A:\n    def find(self):\n        """As `find_slug`."""'),
        ("lora_studio/lora/names.py", 'def run():\n    """Raises ConfigError."""'),
    ],
    missing_docstrings: [
        ("lora_studio/lora/names.py", "class Name:\n    text: str"),
        ("lora_studio/lora/names.py", "def find():\n" + "    x = 1\n" * 8),
    ],
}
