"""`lora-studio doctor`: it finds what is wrong, and says what to do."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from lora_studio.operations.findings import Finding
from lora_studio.settings import Settings
from tests.conftest import StudioFolders
from tests.support.command import Command

DRAWS = Finding(what="base model", said="the starter draws")


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
    here = Settings.from_environment()
    monkeypatch.setattr(Settings, "from_environment", lambda: replace(here, starter=tmp_path))
    outcome = command("doctor", "--json")
    (finding,) = [found for found in outcome.json["findings"] if found["what"].startswith("base")]
    assert outcome.code == 2
    assert "missing" in finding["said"]
    assert finding["advice"]


def test_a_healthy_studio(command: Command) -> None:
    outcome = command("doctor")
    assert outcome.code == 0, outcome.out
    lines = outcome.out.splitlines()
    findings = [line for line in lines if not line.startswith(" ")]
    assert {line.split()[0] for line in findings} == {"ok", "off"}
    assert any("starter loads and draws 64 px" in line for line in lines)
    home = Settings.from_environment().home
    assert list((home / "images").iterdir()) == []


def test_the_logs_are_packed_with_the_findings(
    command: Command, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "planted-hub-token")
    (settings.home / "logs").mkdir()
    (settings.home / "logs" / "studio.log").write_text("refused: planted-hub-token\n", "utf-8")
    monkeypatch.setattr("lora_studio.operations.installation_checks.check_base", lambda settings: DRAWS)
    assert "The logs are in" in command("doctor", "--logs", str(tmp_path / "logs.zip")).out
    with zipfile.ZipFile(tmp_path / "logs.zip") as archive:
        assert archive.read("logs/studio.log") == "refused: …\n".encode()
        assert b"starter" in archive.read("check-up.json")
