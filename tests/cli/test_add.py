from __future__ import annotations

from pathlib import Path

import pytest

from lora_studio.settings import Settings
from tests.support.command import Command
from tests.support.strange_loras import strange_lora


def test_files_are_taken_into_the_library(command: Command, tmp_path: Path) -> None:
    ink = strange_lora(tmp_path / "Ink Style.safetensors")
    outcome = command("add", ink, strange_lora(tmp_path / "b.safetensors", value=2.0), "--json")
    assert outcome.code == 0, outcome.err
    assert [lora["slug"] for lora in outcome.json["loras"]] == ["ink-style", "b"]
    assert ink.exists()
    assert command("add", ink).out.startswith("ink-style: Ink Style")


@pytest.mark.parametrize(
    "link", ["http://files.example/x", "https://127.0.0.1/x.safetensors", "https://[::1]/x", "ftp://a/b"]
)
def test_links_that_lead_inside_are_refused(command: Command, link: str) -> None:
    outcome = command("add", link)
    assert outcome.code == 2
    assert outcome.err.startswith("error: ")
    assert not [*Settings.from_environment().loras.iterdir()]


@pytest.mark.parametrize("folder", ["~nobody-is-called-so", "nowhere"])
def test_a_file_that_is_not_there_is_named(command: Command, folder: str) -> None:
    outcome = command("add", f"{folder}/none.safetensors")
    assert outcome.code == 2
    assert "none.safetensors" in outcome.err
