"""Gradio without what it does for nothing when it is loaded.

Gradio 6.31 reads and parses the source of each component class when the class is made, to bring the stub for
type checkers beside it (`textbox.pyi`) up to date: a good third of loading it. Its wheel holds these stubs
already, and here nobody's components have any. Its cache of functions' answers loads pandas to tell tables by
their class: here nothing is kept in that cache, so pandas comes when something is asked of it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from types import ModuleType
from typing import Any

COMPONENTS, WRITER = "gradio.component_meta", "create_or_modify_pyi"
CACHING, TABLES = "gradio.caching", "pandas"


class StublessLoader(SourceFileLoader):
    """Load the module of Gradio's that makes component classes, with its writer of stubs put out of work."""

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        setattr(module, WRITER, write_none)


class LateTables(ModuleType):
    """pandas for one module, loaded when that uses it."""

    def __getattr__(self, name: str) -> Any:
        step_aside(self)
        return getattr(import_module(TABLES), name)


class LateTablesLoader(SourceFileLoader):
    """Load the module of Gradio's that keeps functions' answers, with pandas to come later."""

    def exec_module(self, module: ModuleType) -> None:
        late = sys.modules.setdefault(TABLES, LateTables(TABLES))
        try:
            super().exec_module(module)
        finally:
            step_aside(late)


LOADERS: dict[str, type[SourceFileLoader]] = {COMPONENTS: StublessLoader, CACHING: LateTablesLoader}


class LightFinder(MetaPathFinder):
    """Find those modules where they are, and leave all others to those who come after."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        for folder in (path or ()) if fullname in LOADERS else ():
            file = f"{folder}/{fullname.rpartition('.')[2]}.py"
            return spec_from_file_location(fullname, file, loader=LOADERS[fullname](fullname, file))
        return None


def load_lightly() -> None:
    """Let Gradio, if it isn't loaded yet, write no stubs and leave pandas for later."""
    if not any(isinstance(finder, LightFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, LightFinder())


def step_aside(module: ModuleType) -> None:
    """Leave the name of pandas to the real one, if `module` stands in for it."""
    if isinstance(module, LateTables) and sys.modules.get(TABLES) is module:
        del sys.modules[TABLES]


def write_none(component_class: type, class_name: str, events: Sequence[object]) -> None:
    """Stand in for Gradio's writer of a class's stub."""
