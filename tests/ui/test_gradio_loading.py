"""Gradio loads without parsing its own sources and without pandas, and does the same."""

from __future__ import annotations

import subprocess
import sys
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from types import ModuleType

import pytest

from lora_studio.ui.gradio_loading import CACHING, COMPONENTS, TABLES, WRITER, LateTables, LightFinder
from tests.support.waiting import PATIENCE

LATE = """
import sys
import lora_studio.ui
import gradio
assert "pandas" not in sys.modules
from gradio.caching import cache_hash
assert cache_hash({"a": [1, "b"]}) == cache_hash({"a": [1, "b"]})
assert "pandas" not in sys.modules
assert cache_hash(object)
import pandas
assert sys.modules["pandas"] is pandas
from pandas.io.formats.style import Styler
table = pandas.DataFrame({"x": [1, 2]})
assert cache_hash(table) == cache_hash(table.copy()) != cache_hash(pandas.DataFrame({"x": [1, 3]}))
print(cache_hash(table))
"""
EAGER = """
import pandas
from gradio.caching import cache_hash
print(cache_hash(pandas.DataFrame({"x": [1, 2]})))
"""


def loaded(name: str, *, lightly: bool) -> ModuleType:
    """Gradio's module as a second one beside that which is in use."""
    package = find_spec("gradio")
    assert package is not None
    finder = LightFinder() if lightly else PathFinder
    spec = finder.find_spec(name, package.submodule_search_locations)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_loads_gradio_this_way() -> None:
    assert any(isinstance(finder, LightFinder) for finder in sys.meta_path)
    assert LightFinder().find_spec("gradio.blocks", ["anywhere"]) is None


def test_a_class_is_made_and_no_stub_is_looked_for() -> None:
    made = loaded(COMPONENTS, lightly=True).ComponentMeta("Nowhere", (), {"EVENTS": ["change"]})
    assert [str(event) for event in made.EVENTS] == ["change"]
    with pytest.raises(ValueError, match="class source"):
        loaded(COMPONENTS, lightly=False).ComponentMeta("Nowhere", (), {"EVENTS": ["change"]})


def test_gradio_still_has_its_writer_and_brings_its_stubs() -> None:
    """Else this is no longer needed, or type checkers would miss them."""
    module = loaded(COMPONENTS, lightly=False)
    assert callable(getattr(module, WRITER))
    assert (Path(str(module.__file__)).parent / "components" / "textbox.pyi").is_file()


@pytest.mark.slow
def test_pandas_comes_when_it_is_used_and_tables_are_told_apart_as_ever() -> None:
    answers = [
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=PATIENCE
        ).stdout
        for program in (LATE, EAGER)
    ]
    assert answers[0] == answers[1] != ""


def test_nothing_stands_in_for_pandas_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, TABLES, raising=False)
    late = loaded(CACHING, lightly=True).pd
    assert isinstance(late, LateTables)
    assert TABLES not in sys.modules
