"""Gradio loads without parsing its own sources, and makes the same classes."""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from types import ModuleType

import pytest

from lora_studio.ui.component_stubs import MODULE, WRITER, StublessFinder


def loaded(*, stubless: bool) -> ModuleType:
    """Gradio's module as a second one beside that which is in use."""
    package = find_spec("gradio")
    assert package is not None
    finder = StublessFinder() if stubless else PathFinder
    spec = finder.find_spec(MODULE, package.submodule_search_locations)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_loads_gradio_this_way() -> None:
    assert any(isinstance(finder, StublessFinder) for finder in sys.meta_path)
    assert StublessFinder().find_spec("gradio.blocks", ["anywhere"]) is None


def test_a_class_is_made_and_no_stub_is_looked_for() -> None:
    made = loaded(stubless=True).ComponentMeta("Nowhere", (), {"EVENTS": ["change"]})
    assert [str(event) for event in made.EVENTS] == ["change"]
    with pytest.raises(ValueError, match="class source"):
        loaded(stubless=False).ComponentMeta("Nowhere", (), {"EVENTS": ["change"]})


def test_gradio_still_has_its_writer_and_brings_its_stubs() -> None:
    """Else this is no longer needed, or type checkers would miss them."""
    module = loaded(stubless=False)
    assert callable(getattr(module, WRITER))
    assert (Path(str(module.__file__)).parent / "components" / "textbox.pyi").is_file()
