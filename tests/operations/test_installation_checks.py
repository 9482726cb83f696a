"""Each check finds what is wrong, and says what to do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lora_studio.errors import ConfigError
from lora_studio.operations import installation_checks as checks
from lora_studio.settings import Settings


def settings() -> Settings:
    found = Settings.from_environment()
    found.create_folders()
    return found


def test_a_missing_and_an_old_package(tmp_path: Path) -> None:
    wanted = tmp_path / "requirements.txt"
    wanted.write_text("pillow>=1\nno-such-package>=1  # why\npydantic<1\n\n# a remark\n", "utf-8")
    findings = {finding.what: finding for finding in checks.check_packages(wanted)}
    assert [finding.ok for finding in findings.values()] == [True, False, False]
    assert findings["no-such-package"].said == "not installed"
    assert "pydantic<1 is wanted" in findings["pydantic"].advice


def test_the_packages_of_this_installation_fit() -> None:
    assert all(finding.ok for finding in checks.check_packages())


def test_low_memory_and_disk_are_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    here = settings()
    assert checks.check_disk(here).ok == checks.check_memory(here).ok is True
    monkeypatch.setattr(checks, "LEAST_MEMORY", 1e18)
    monkeypatch.setattr(checks, "LEAST_DISK", 1e18)
    assert checks.check_disk(here).ok == checks.check_memory(here).ok is False


def test_sd_scripts_is_looked_at_when_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "train_network.py").touch()
    named = replace(settings(), sd_scripts=tmp_path)
    assert checks.check_sd_scripts(named).ok
    (tmp_path / "train_network.py").unlink()
    with pytest.raises(ConfigError, match=r"no train_network\.py"):
        checks.check_sd_scripts(named)
