"""What the tests themselves keep to: short files, an index of what they share, no patching of insides."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.support.serving import CHECKOUT
from tests.support.shared_apps import SHARING

TESTS = CHECKOUT / "tests"
LINES = 400
FIXTURES = {**dict.fromkeys(("app", "studio", "world"), "app"), "locked": "locked"}
"""What gives an app that is shared, by the fixtures of tests/integration."""
OF_OTHERS = {"_seek"}  # Pillow counts the frames of a GIF with it


def private_names_patched(text: str) -> Iterator[str]:
    """The names that are set on somebody else's module, class or object, and begin with one underscore."""
    if "setattr" not in text:
        return
    for node in ast.walk(ast.parse(text)):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "setattr"
        ):
            strings = [arg.value for arg in node.args[:2] if isinstance(arg, ast.Constant)]
            names = [str(string).rpartition(".")[2] for string in strings]
            yield from (name for name in names if re.match(r"_[^_]", name) and name not in OF_OTHERS)


def files() -> list[Path]:
    return sorted(TESTS.rglob("*.py"))


def test_no_test_patches_a_private_name() -> None:
    found = {path.name: list(private_names_patched(path.read_text("utf-8"))) for path in files()}
    assert {name: names for name, names in found.items() if names} == {}
    assert list(private_names_patched("patch.setattr(loop, '_losses', 1)")) == ["_losses"]
    assert list(private_names_patched("patch.setattr('a.b._losses', 1)")) == ["_losses"]


def test_files_are_short() -> None:
    lengths = {path.relative_to(TESTS): len(path.read_text("utf-8").splitlines()) for path in files()}
    assert {path: lines for path, lines in lengths.items() if lines > LINES} == {}


def test_what_is_shared_is_listed() -> None:
    index = (TESTS / "support" / "README.md").read_text("utf-8")
    modules = [path.stem for path in (TESTS / "support").glob("*.py")]
    assert [name for name in modules if f"`{name}`" not in index] == []


def apps_shared_in(text: str) -> set[str]:
    """The keys of SHARING whose app the tests of a file ask for."""
    tree = ast.parse(text)
    asking = {node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and _is_asked(node)}
    own = {node.name for node in asking}
    asked = {argument.arg for node in asking for argument in node.args.args} - own
    return {FIXTURES[name] for name in asked & FIXTURES.keys()}


def _is_asked(node: ast.FunctionDef) -> bool:
    return node.name.startswith("test_") or any("fixture" in ast.unparse(one) for one in node.decorator_list)


def test_files_that_share_an_app_or_forks_stay_with_one_worker() -> None:
    """Else each worker starts one of its own, and what must come last isn't last."""
    texts = {path: path.read_text("utf-8") for path in files() if path.name.startswith("test_")}
    found = {path.stem: apps_shared_in(text) for path, text in texts.items() if "integration" in path.parts}
    found = {stem: names for stem, names in found.items() if names}
    found |= {
        path.stem: {"forks"} for path, text in texts.items() if "\nfrom tests.support.forks import" in text
    }
    assert found == {stem: {name} for name, stems in SHARING.items() for stem in stems}
    assert apps_shared_in("def test_a(studio): pass") == {"app"}
    assert apps_shared_in("@pytest.fixture\ndef studio(): pass\ndef test_a(studio): pass") == set()
