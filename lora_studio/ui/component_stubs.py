"""Gradio without writing stubs, which takes a good third of loading it.

Gradio 6.31 reads and parses the source of each component class when the class is made, to bring the stub for
type checkers beside it (`textbox.pyi`) up to date. Its wheel holds these stubs already, and here nobody's
components have any.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from types import ModuleType

MODULE, WRITER = "gradio.component_meta", "create_or_modify_pyi"


class StublessLoader(SourceFileLoader):
    """Load the module of Gradio's that makes component classes, with its writer of stubs put out of work."""

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        setattr(module, WRITER, write_none)


class StublessFinder(MetaPathFinder):
    """Find that one module where it is, and leave all others to those who come after."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        for folder in (path or ()) if fullname == MODULE else ():
            file = f"{folder}/{fullname.rpartition('.')[2]}.py"
            return spec_from_file_location(fullname, file, loader=StublessLoader(fullname, file))
        return None


def leave_out_stubs() -> None:
    """Let Gradio, if it isn't loaded yet, write no stubs."""
    if not any(isinstance(finder, StublessFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, StublessFinder())


def write_none(component_class: type, class_name: str, events: Sequence[object]) -> None:
    """Stand in for Gradio's writer of a class's stub."""
