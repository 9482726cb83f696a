from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from lora_studio.data.pixels.thumbnails import thumbnail


def test_a_thumbnail_is_small_and_made_once(tmp_path: Path) -> None:
    Image.new("RGBA", (1000, 500), "red").save(tmp_path / "a.png")
    made = thumbnail(tmp_path / "a.png", tmp_path / "cache")
    with Image.open(made) as image:
        assert (image.format, image.mode, image.size) == ("WEBP", "RGB", (256, 128))
    before = os.stat(made).st_mtime_ns
    assert thumbnail(tmp_path / "a.png", tmp_path / "cache") == made
    assert os.stat(made).st_mtime_ns == before
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [Path(made).name]


def test_a_changed_picture_gets_another_thumbnail(tmp_path: Path) -> None:
    Image.new("RGB", (100, 100), "red").save(tmp_path / "a.png")
    first = thumbnail(tmp_path / "a.png", tmp_path / "cache")
    Image.effect_noise((100, 100), 50).save(tmp_path / "a.png")
    assert thumbnail(tmp_path / "a.png", tmp_path / "cache") != first


def test_what_cannot_be_read_has_none_and_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.png").write_text("no picture")
    for _ in range(3):
        assert thumbnail(tmp_path / "a.png", tmp_path / "cache") == ""
        assert thumbnail(tmp_path / "missing.png", tmp_path / "cache") == ""
    assert len(caplog.records) == 1
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".unreadable"]
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    assert thumbnail(tmp_path / "a.png", tmp_path / "cache")
