"""Limits that keep the code readable, and what it doesn't do: print, keep state in modules."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import PurePosixPath

from tests.support.rules.source import Check, Source, TreeCheck, is_dunder

FOLDER_FILES, FOLDER_FILES_OF = 14, {"lora_studio": 20}
"""The top level holds the front doors and the contracts that all rooms share, each in a file of its own."""
FILE_LINES, FILE_LINES_OF = 400, {"app.py": 60}
FUNCTION_LINES, FUNCTION_LINES_IN = 60, {"lora_studio/training/loop.py": 130}
PARAMETERS = 7
COLUMNS = 110


def long_files_and_lines(source: Source) -> Iterator[str]:
    lines = source.text.splitlines()
    limit = FILE_LINES_OF.get(source.path, FILE_LINES)
    if len(lines) > limit:
        yield f"{source.path}: {len(lines)} lines, {limit} allowed"
    for number, line in enumerate(lines, 1):
        if len(line) > COLUMNS:
            yield f"{source.path}:{number}: {len(line)} columns, {COLUMNS} allowed"


def long_functions(source: Source) -> Iterator[str]:
    limit = FUNCTION_LINES_IN.get(source.path, FUNCTION_LINES)
    for node in source.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node, clean=False) or ""
            lines = 1 + (node.end_lineno or 0) - node.lineno - len(docstring.splitlines())
            if lines > limit:
                yield f"{source.path}:{node.lineno}: {node.name} has {lines} lines, {limit} allowed"


def many_parameters(source: Source) -> Iterator[str]:
    for node in source.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            given = node.args
            named = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
            names = [argument.arg for argument in named if argument and argument.arg not in {"self", "cls"}]
            if len(names) > PARAMETERS:
                yield f"{source.path}:{node.lineno}: {node.name} has {len(names)} parameters"


def prints(source: Source) -> Iterator[str]:
    if source.is_in_package and not source.path.startswith("lora_studio/cli/"):
        for node in source.nodes:
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                yield f"{source.path}:{node.lineno}: print outside cli/"


def rebound_globals(source: Source) -> Iterator[str]:
    for node in source.nodes:
        if isinstance(node, ast.Global):
            yield f"{source.path}:{node.lineno}: a module keeps state in {', '.join(node.names)}"


def crowded_folders(tree: list[Source]) -> Iterator[str]:
    counts = Counter(PurePosixPath(source.path).parent.as_posix() for source in tree if not is_dunder(source))
    for folder, count in counts.items():
        limit = FOLDER_FILES_OF.get(folder, FOLDER_FILES)
        if folder.startswith("lora_studio") and count > limit:
            yield f"{folder}/ has {count} files, {limit} allowed"


VIOLATIONS: dict[Check, list[tuple[str, str]]] = {
    long_files_and_lines: [
        ("lora_studio/config.py", "x = 1\n" * 401),
        ("app.py", "x = 1\n" * 61),
        ("lora_studio/config.py", f"x = '{'x' * 110}'"),
    ],
    long_functions: [
        ("lora_studio/config.py", "def long():\n" + "    x = 1\n" * 60),
        (
            "lora_studio/ui/widgets/settings_form.py",
            "class Form:\n    async def long(self):\n" + "        x = 1\n" * 60,
        ),
        ("lora_studio/training/loop.py", "def long():\n" + "    x = 1\n" * 130),
    ],
    many_parameters: [
        ("lora_studio/config.py", "def wide(a, b, c, d, *, e, f, g, h): pass"),
        ("lora_studio/config.py", "class A:\n    def wide(self, a, b, c, d, e, f, *rest, **more): pass"),
    ],
    prints: [("lora_studio/jobs/training_queue.py", "print('queued')")],
    rebound_globals: [("lora_studio/runtime.py", "device = None\ndef take():\n    global device")],
}

TREE_VIOLATIONS: dict[TreeCheck, list[list[tuple[str, str]]]] = {
    crowded_folders: [
        [(f"lora_studio/data/room_{number}.py", "") for number in range(15)],
        [(f"lora_studio/contract_{number}.py", "") for number in range(21)],
    ],
}
