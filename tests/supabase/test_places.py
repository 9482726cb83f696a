"""Which installed programs are taken, and what a run says when there are none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.serving import CHECKOUT
from tests.support.supabase import places

pytestmark = pytest.mark.skipif(os.name == "nt", reason="makes programs as shell scripts")


def program(folder: Path, name: str, says: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("says", "is_taken"),
    [
        ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", True),
        ("postgres (PostgreSQL) 18rc1", True),
        ("postgres (PostgreSQL) 14.12 (Ubuntu 14.12-0ubuntu0.22.04.1)", False),
        ("something else", False),
    ],
)
def test_a_postgresql_has_to_be_new_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, is_taken: bool
) -> None:
    program(tmp_path, "postgres", says)
    program(tmp_path, "initdb", says)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(places, "USUAL_PLACES", ())
    assert places.find_postgres() == (tmp_path if is_taken else None)


@pytest.mark.parametrize(("says", "is_taken"), [("v20.20.2", True), ("v24.1.0", True), ("v18.20.4", False)])
def test_a_node_has_to_be_new_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, is_taken: bool
) -> None:
    node = program(tmp_path / "bin", "node", says)
    monkeypatch.setenv("PATH", f"{node.parent}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert places.find_node() == (node if is_taken else None)
    assert places.find_programs() is None, "nothing is installed there"


def test_a_run_says_in_a_line_what_it_skipped_and_how_to_get_it(tmp_path: Path) -> None:
    """In a run of its own, for tests that need what is not there."""
    skipped = tmp_path / "test_skipped.py"
    reasons = (places.HOW_TO_GET_POSTGRES, places.HOW_TO_GET_PROGRAMS)
    skipped.write_text(
        "import pytest\n"
        + "".join(f"def test_{n}(): pytest.skip({said!r})\n" for n, said in enumerate(reasons))
    )
    options = ["-q", "-p", "no:xdist", "-p", "no:cacheprovider", "-o", "addopts=", "-p", "tests.conftest"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "-c", CHECKOUT / "pyproject.toml", skipped],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout
    assert f"1 database tests skipped: {places.HOW_TO_GET_POSTGRES}" in said, said + done.stderr
    assert f"1 official Supabase program tests skipped: {places.HOW_TO_GET_PROGRAMS}" in said, said
