"""Pictures that people bring along."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from lora_studio.errors import ConfigError, StoreError, UnknownFormat
from lora_studio.images import input_store
from lora_studio.request import GenerateRequest


def saved(picture: Image.Image, path: Path, **options: object) -> Path:
    picture.save(path, **options)
    return path


def gradient(width: int = 48, height: int = 32) -> Image.Image:
    return Image.linear_gradient("L").resize((width, height)).convert("RGB")


def test_a_picture_is_found_again_by_its_sum(tmp_path: Path) -> None:
    folder = tmp_path / "inputs"
    digest = input_store.take_in(saved(gradient(), tmp_path / "a.png"), folder)
    assert input_store.picture(digest, folder).tobytes() == gradient().tobytes()
    assert [path.name for path in folder.iterdir()] == [f"{digest}.png"]
    assert GenerateRequest(image=digest).image == digest
    again = input_store.take_in(saved(gradient(), tmp_path / "b.webp", lossless=True), folder)
    assert again == digest, "the sum is of what it shows, not of the file"
    assert len(list(folder.iterdir())) == 1


def test_it_stands_upright_and_says_nothing_of_its_owner(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    exif[0x010E] = "at home"
    file = saved(gradient(48, 32), tmp_path / "a.jpg", exif=exif)
    digest = input_store.take_in(file, tmp_path / "inputs")
    assert input_store.picture(digest, tmp_path / "inputs").size == (32, 48)
    assert b"at home" not in (tmp_path / "inputs" / f"{digest}.png").read_bytes()


def test_text_chunks_are_left_behind(tmp_path: Path) -> None:
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("parameters", "a secret")
    digest = input_store.take_in(saved(gradient(), tmp_path / "a.png", pnginfo=chunks), tmp_path / "inputs")
    assert input_store.picture(digest, tmp_path / "inputs").info == {}


def test_a_mask_is_black_and_white(tmp_path: Path) -> None:
    file = saved(gradient(64, 32), tmp_path / "mask.png")
    mask = input_store.picture(input_store.take_in(file, tmp_path / "in", mask=True), tmp_path / "in")
    assert (mask.mode, mask.size) == ("L", (64, 32))
    assert {level for level, count in enumerate(mask.histogram()) if count} == {0, 255}
    assert mask.tobytes() == gradient(64, 32).convert("L").point(lambda value: 255 * (value >= 128)).tobytes()


def test_a_layer_is_white_where_something_is_drawn(tmp_path: Path) -> None:
    """As mask editors give it, whatever the colour of the brush."""
    layer = Image.new("RGBA", (64, 64))
    layer.paste((0, 0, 0, 255), (8, 8, 24, 24))
    mask = input_store.picture(
        input_store.take_in(saved(layer, tmp_path / "l.png"), tmp_path / "in", mask=True), tmp_path / "in"
    )
    assert mask.getbbox() == (8, 8, 24, 24)
    assert mask.crop((8, 8, 24, 24)).getextrema() == (255, 255)


def test_what_is_no_picture_is_refused_with_a_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "inputs"
    text = tmp_path / "notes.png"
    text.write_text("no picture", encoding="utf-8")
    with pytest.raises(UnknownFormat, match=r"notes\.png is not a picture"):
        input_store.take_in(text, folder)
    cut = io.BytesIO()
    gradient(400, 300).save(cut, "JPEG")
    (tmp_path / "cut.jpg").write_bytes(cut.getvalue()[:800])
    with pytest.raises(UnknownFormat, match=r"cut\.jpg is damaged or cut off"):
        input_store.take_in(tmp_path / "cut.jpg", folder)
    with pytest.raises(UnknownFormat, match=r"huge\.png is too large, 8000 × 6000"):
        input_store.take_in(saved(Image.new("L", (8000, 6000)), tmp_path / "huge.png"), folder)
    with pytest.raises(UnknownFormat, match=r"dot\.png is too small, 8 × 8"):
        input_store.take_in(saved(gradient(8, 8), tmp_path / "dot.png"), folder)
    with pytest.raises(StoreError, match=r"gone\.png can't be read"):
        input_store.take_in(tmp_path / "gone.png", folder)
    assert not folder.exists()


def test_a_picture_that_is_gone_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"picture to redraw \(abababababab…\) is not on this machine"):
        input_store.picture("ab" * 32, tmp_path)
    (tmp_path / f"{'cd' * 32}.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(StoreError, match="Choose the picture again"):
        input_store.picture("cd" * 32, tmp_path)


def test_a_mask_alone_makes_no_sense(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no picture that it belongs to") as caught:
        input_store.size_of(GenerateRequest(mask_image="ab" * 32), tmp_path)
    assert caught.value.field == "mask_image"
    assert input_store.size_of(GenerateRequest(), tmp_path) is None


@pytest.mark.skipif(os.name == "nt" or os.getuid() == 0, reason="every folder can be written")
def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "inputs").mkdir(mode=0o500)
    with pytest.raises(StoreError, match="can't be written to"):
        input_store.keep(gradient(), tmp_path / "inputs")


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    """A file where the folder should be stands for all that goes wrong with writing."""
    (tmp_path / "inputs").write_text("", encoding="utf-8")
    with pytest.raises(StoreError, match="can't be written to") as caught:
        input_store.keep(gradient(), tmp_path / "inputs")
    assert "disk space" in caught.value.hint


def test_what_is_used_is_not_old(tmp_path: Path) -> None:
    sums = [
        input_store.keep(Image.new("RGB", (32, 32), colour), tmp_path) for colour in ("red", "green", "blue")
    ]
    (tmp_path / "notes.png").write_bytes(b"not ours")
    long_ago = time.time() - 8 * 86_400
    for path in tmp_path.iterdir():
        os.utime(path, (long_ago, long_ago))
    assert {path.stem for path in input_store.unused(tmp_path)} == set(sums)
    input_store.picture(sums[0], tmp_path)
    input_store.keep(Image.new("RGB", (32, 32), "green"), tmp_path)
    assert [path.stem for path in input_store.unused(tmp_path)] == [sums[2]]
    assert input_store.unused(tmp_path / "nowhere") == []
