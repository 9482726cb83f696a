"""What the developer guide walks through stands in the code where it says, and its example runs."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.markdown import CODE, prose
from tests.support.serving import CHECKOUT
from tests.support.waiting import PATIENCE

PAGES = [CHECKOUT / "docs" / "developers.md", *sorted((CHECKOUT / "docs" / "develop").glob("*.md"))]


PLACE = re.compile(r"(?:lora_studio|tests|scripts|supabase|docs|deploy)/[\w./-]*")
NAMED = re.compile(rf"({PLACE.pattern}\.py)::(\w+)")


def names_in(file: Path) -> set[str]:
    """What a module defines or imports at its top."""
    found = set()
    for node in ast.parse(file.read_text("utf-8")).body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case ast.Assign(targets=targets):
                found |= {target.id for target in targets if isinstance(target, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name)):
                found.add(name)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_and_names_of_the_walks_are_there(page: Path) -> None:
    codes = CODE.findall(prose(page))
    places = {code.partition("::")[0] for code in codes if PLACE.match(code)}
    assert [place for place in sorted(places) if not (CHECKOUT / place).exists()] == []
    named = {match.groups() for code in codes if (match := NAMED.fullmatch(code))}
    assert [f"{file}::{name}" for file, name in sorted(named) if name not in names_in(CHECKOUT / file)] == []
    assert named or page.name in {"developers.md", "testing.md"}


@pytest.mark.slow  # twenty steps on the starter
def test_the_engine_runs_without_the_studio(tmp_path: Path) -> None:
    (script,) = (
        block
        for page in PAGES
        for block in re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
        if "trainer import train" in block
    )
    assert '"max_train_steps": 20,' in script
    script = script.replace('"examples/ink"', repr(str(CHECKOUT / "examples" / "ink")))
    run = subprocess.run(
        [
            sys.executable,
            "-c",
            script.replace('"max_train_steps": 20,', '"max_train_steps": 2, "sample_every_n_steps": 0,'),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), "LORA_STUDIO_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert "Finished(" in run.stdout, run.stderr
    assert list(tmp_path.glob("ink/*.safetensors"))
