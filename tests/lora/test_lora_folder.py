from __future__ import annotations

from pathlib import Path

import pytest

from lora_studio.errors import UnknownFormat
from lora_studio.lora.lora_folder import best_preview, fingerprint, read_notes, read_record


def test_the_best_preview_is_the_first_of_the_last_step() -> None:
    names = ("p/base-0.png", "p/step-000050-0.png", "p/step-001000-1.png", "p/step-001000-0.png", "p/x.png")
    assert best_preview(names) == "p/step-001000-0.png"
    assert best_preview(("p/base-0.png", "p/other.png")) == "p/base-0.png"
    assert best_preview(()) == ""


@pytest.mark.parametrize("text", ["", "[]", "{", "null", '"text"', "\x00"])
def test_odd_notes_are_no_notes(tmp_path: Path, text: str) -> None:
    (tmp_path / "training.json").write_text(text)
    assert read_notes(tmp_path) == {}


def test_a_folder_without_a_lora_has_no_fingerprint_and_no_record(tmp_path: Path) -> None:
    (tmp_path / "training.json").write_text("{}")
    assert fingerprint(tmp_path) == fingerprint(tmp_path / "missing") == ""
    with pytest.raises(UnknownFormat):
        read_record(tmp_path)


def test_the_fingerprint_follows_all_that_the_record_is_made_from(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    file.write_bytes(b"1")
    seen = {fingerprint(tmp_path)}
    file.write_bytes(b"22")
    seen.add(fingerprint(tmp_path))
    (tmp_path / "training.json").write_text("{}")
    seen.add(fingerprint(tmp_path))
    (tmp_path / "previews").mkdir()
    seen.add(fingerprint(tmp_path))
    (tmp_path / "README.md").write_text("not part of it")
    seen.add(fingerprint(tmp_path))
    assert len(seen) == 4
