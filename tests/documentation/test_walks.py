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


def run_script(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A page's script with the studio's state and all that it writes in `folder`; two steps each."""
    assert re.search(r'"max_train_steps": \d+', script)
    assert '"examples/ink"' in script
    script = script.replace('"examples/ink"', repr(str(CHECKOUT / "examples" / "ink")))
    script = re.sub(r'("max_train_steps":) \d+', r'\1 2, "sample_every_n_steps": 0', script)
    environment = {"PYTHONPATH": str(CHECKOUT), "LORA_STUDIO_HOME": str(folder / "home")}
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env={**os.environ, **environment, "LORA_STUDIO_MODELS": str(folder / "models")},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


@pytest.mark.slow  # two steps on the starter
def test_the_engine_runs_without_the_studio(tmp_path: Path) -> None:
    (script,) = (
        block
        for page in PAGES
        for block in re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
        if "trainer import train" in block
    )
    run = run_script(script, tmp_path)
    assert "Finished(" in run.stdout, run.stderr
    assert list(tmp_path.glob("ink/*.safetensors"))


@pytest.mark.slow  # two steps on the starter, and a picture
def test_the_studio_is_used_from_python(tmp_path: Path) -> None:
    page = CHECKOUT / "docs" / "reference" / "python.md"
    (script,) = re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    run = run_script(script, tmp_path)
    assert run.returncode == 0, run.stderr
    status, picture = run.stdout.split()[-2:]
    assert status == "finished"
    assert Path(picture).read_bytes().startswith(b"\x89PNG")
