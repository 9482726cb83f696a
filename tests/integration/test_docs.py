"""What the documentation says is true: what is made from code is up to date, and tests that
are named are there. Examples, links and coverage: tests/documentation."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from scripts.document_parameters import render
from tests.support.serving import CHECKOUT

TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def test_the_settings_page_is_up_to_date() -> None:
    page = (CHECKOUT / "docs" / "parameters.md").read_text("utf-8")
    assert page == render(), "run python -m scripts.document_parameters"


def test_the_readme_is_a_space() -> None:
    front = (CHECKOUT / "README.md").read_text("utf-8").split("---\n")[1]
    values = dict(line.split(": ", 1) for line in front.splitlines() if ": " in line)
    assert values["sdk"] == "gradio"
    assert (CHECKOUT / values["app_file"]).is_file()
    constraints = (CHECKOUT / "constraints.txt").read_text("utf-8")
    assert f"gradio=={values['sdk_version']}\n" in constraints
    assert values["python_version"] == '"3.12"'
    assert len(values["short_description"]) <= 60  # the Hub refuses longer ones


@cache
def functions_in(path: str) -> set[str]:
    """The names of a file's functions; none where there is no such file."""
    file = CHECKOUT / path
    tree = ast.parse(file.read_text("utf-8")) if file.is_file() else ast.Module(body=[], type_ignores=[])
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(("file", "fewest"), [("mended.md", 80), ("page.md", 35)])
def test_what_is_mended_has_its_test(file: str, fewest: int) -> None:
    """Each line of these pages names tests that are there."""
    page = (CHECKOUT / "docs" / file).read_text("utf-8")
    mended = page.partition("## Otherwise on purpose")[0]
    rows = [line for line in mended.splitlines() if line.startswith("| ") and not line.endswith("| test |")]
    assert len(rows) >= fewest
    assert [row for row in rows if not TEST.search(row.rpartition(" | ")[2])] == []
    named = set(TEST.findall(page))
    assert page.count(".py::") == len(TEST.findall(page))
    assert [f"{path}::{name}" for path, name in sorted(named) if name not in functions_in(path)] == []
