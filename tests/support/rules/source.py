"""The code as the rules read it: each file's text and tree, and who imports what."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import PurePosixPath

from tests.support.serving import CHECKOUT


@dataclass(frozen=True)
class Source:
    """A Python file: its path from the checkout, with slashes, and its text."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(self.tree))

    @property
    def modules(self) -> tuple[str, ...]:
        return PurePosixPath(self.path).with_suffix("").parts

    @property
    def is_in_package(self) -> bool:
        return self.modules[0] == "lora_studio"

    @cached_property
    def imports(self) -> list[tuple[int, str]]:
        """Line and full dotted name of all imports, those for types and those inside functions included."""
        return list(self._find_imports())

    def _find_imports(self) -> Iterator[tuple[int, str]]:
        for node in self.nodes:
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                start = self.modules[: -node.level] if node.level else ()
                module = ".".join([*start, *([node.module] if node.module else [])])
                yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)
            elif isinstance(node, ast.Call) and _last_name(node.func).endswith("import_module"):
                yield node.lineno, str(getattr(node.args[0], "value", "?"))


def _last_name(function: ast.expr) -> str:
    return str(getattr(function, "attr", getattr(function, "id", "")))


def is_dunder(source: Source) -> bool:
    return source.modules[-1].startswith("__")


Check = Callable[[Source], Iterator[str]]
TreeCheck = Callable[[list[Source]], Iterator[str]]


@cache
def sources() -> list[Source]:
    files = [path for path in (CHECKOUT / "app.py", CHECKOUT / "launch.py") if path.exists()]
    for folder in ("lora_studio", "scripts", "deploy"):
        files += sorted((CHECKOUT / folder).rglob("*.py"))
    return [Source(path.relative_to(CHECKOUT).as_posix(), path.read_text("utf-8")) for path in files]
