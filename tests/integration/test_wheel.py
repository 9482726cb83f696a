"""The wheel: what it holds, and that it does the whole job where there is no checkout."""

from __future__ import annotations

import json
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.support.installed import (
    build,
    copy_files,
    fresh_environment,
    tracked_files,
    without_python_variables,
)
from tests.support.waiting import PATIENCE

INSIDE = "lora_studio/checkout/"
TOUR_SECONDS = 20 * PATIENCE


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    return build(copy_files(tracked_files(), folder / "source"), folder / "made")


@pytest.mark.slow
def test_it_holds_the_package_the_base_and_the_examples(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    beside = tracked_files("app.py", "launch.py", "README.md", "LICENSE", "requirements.txt")
    beside += tracked_files("constraints.txt", "models/starter", "models/starter-flow", "examples")
    assert names == {*tracked_files("lora_studio"), *(INSIDE + path for path in beside)}


@pytest.mark.slow
def test_a_wheel_made_from_the_source_archive_is_the_same(wheel: Path, tmp_path: Path) -> None:
    archive = build(copy_files(tracked_files(), tmp_path / "source"), tmp_path / "made", "sdist")
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path / "unpacked", filter="data")
    [source] = (tmp_path / "unpacked").iterdir()
    again = build(source, tmp_path / "made")
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as other:
        assert sorted(one.namelist()) == sorted(other.namelist())


@pytest.mark.slow
def test_the_tour_without_a_checkout(wheel: Path, tmp_path: Path) -> None:
    programs = fresh_environment(tmp_path / "environment", wheel)
    home = tmp_path / "somebody"
    home.mkdir()
    environment = {**without_python_variables(), "HOME": str(home), "USERPROFILE": str(home)}
    command = [str(programs / "lora-studio"), "tour", "--steps", "2", "--json"]
    run = subprocess.run(
        command, cwd=home, env=environment, capture_output=True, text=True, timeout=TOUR_SECONDS
    )
    assert run.returncode == 0, run.stderr
    result = json.loads(run.stdout)
    assert result["steps"] == 2
    assert Path(result["sheet"]).is_relative_to(home / "lora-studio" / "studio_data")
    assert Path(result["lora"]).is_relative_to(home / "lora-studio" / "models" / "lora")
    for made in (result["sheet"], result["pairs"][0]["lora"]):
        assert Path(made).is_file()
