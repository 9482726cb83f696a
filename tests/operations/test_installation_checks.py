"""`lora-studio doctor`: it finds what is wrong, and says what to do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lora_studio.cli import doctor
from lora_studio.errors import ConfigError
from lora_studio.settings import Settings
from tests.conftest import StudioFolders
from tests.support.command import Command


def settings() -> Settings:
    found = Settings.from_environment()
    found.create_folders()
    return found


def test_a_missing_and_an_old_package(tmp_path: Path) -> None:
    wanted = tmp_path / "requirements.txt"
    wanted.write_text("pillow>=1\nno-such-package>=1  # why\npydantic<1\n\n# a remark\n", "utf-8")
    findings = {finding.what: finding for finding in doctor.check_packages(wanted)}
    assert [finding.ok for finding in findings.values()] == [True, False, False]
    assert findings["no-such-package"].said == "not installed"
    assert "pydantic<1 is wanted" in findings["pydantic"].advice


def test_the_packages_of_this_installation_fit() -> None:
    assert all(finding.ok for finding in doctor.check_packages())


def test_a_folder_that_is_a_file_is_a_problem(command: Command, studio_folders: StudioFolders) -> None:
    studio_folders.home.parent.mkdir(exist_ok=True)
    studio_folders.home.write_text("in the way", "utf-8")
    outcome = command("doctor", "--json")
    assert outcome.code == 2
    problems = {finding["what"] for finding in outcome.json["findings"] if finding["advice"]}
    assert {"folders", "database"} <= problems


def test_a_missing_base_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: Command
) -> None:
    here = settings()
    monkeypatch.setattr(Settings, "from_environment", lambda: replace(here, starter=tmp_path))
    outcome = command("doctor", "--json")
    (finding,) = [found for found in outcome.json["findings"] if found["what"].startswith("base")]
    assert outcome.code == 2
    assert "missing" in finding["said"]
    assert finding["advice"]


def test_low_memory_and_disk_are_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    here = settings()
    assert doctor.check_disk(here).ok == doctor.check_memory(here).ok is True
    monkeypatch.setattr(doctor, "LEAST_MEMORY", 1e18)
    monkeypatch.setattr(doctor, "LEAST_DISK", 1e18)
    assert doctor.check_disk(here).ok == doctor.check_memory(here).ok is False


def test_a_healthy_studio(command: Command) -> None:
    outcome = command("doctor")
    assert outcome.code == 0, outcome.out
    lines = outcome.out.splitlines()
    assert all(line.startswith("ok ") for line in lines)
    assert any("starter loads and draws 64 px" in line for line in lines)
    home = Settings.from_environment().home
    assert list((home / "images").iterdir()) == []


def test_sd_scripts_is_looked_at_when_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "train_network.py").touch()
    named = replace(settings(), sd_scripts=tmp_path)
    assert doctor.check_sd_scripts(named).ok
    (tmp_path / "train_network.py").unlink()
    with pytest.raises(ConfigError, match=r"no train_network\.py"):
        doctor.check_sd_scripts(named)
