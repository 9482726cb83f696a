"""`lora-studio storage`: what the studio takes of the disk, and the clean-up of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lora_studio.settings import Settings
from tests.support.command import Command


@pytest.fixture
def cached(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    path = settings.cache / "latents" / "a.npz"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x" * 2_000_000)
    return path


def test_it_lists_by_kind_and_offers_what_can_be_cleaned_up(command: Command, cached: Path) -> None:
    lines = command("storage").out.splitlines()
    (row,) = [line for line in lines if line.startswith("Caches")]
    assert "2 MB" in row
    assert row.rstrip().endswith("--clean caches: 2 MB")
    kinds = {kind["kind"]: kind for kind in command("storage", "--json").json["kinds"]}
    assert (kinds["caches"]["bytes"], kinds["caches"]["freed_files"]) == (2_000_000, 1)
    assert kinds["loras"]["freed_bytes"] == 0


def test_it_cleans_up_one_kind(command: Command, cached: Path) -> None:
    assert command("storage", "--clean", "caches").out == "1 file is gone, 2 MB.\n"
    assert not cached.exists()
    assert command("storage", "--clean", "caches", "--json").json == {
        "kind": "caches",
        "files": 0,
        "bytes": 0,
    }
