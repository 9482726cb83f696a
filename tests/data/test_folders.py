from __future__ import annotations

from pathlib import Path

import pytest

from lora_studio.config_groups import DatasetGroup
from lora_studio.data.folders import PictureFolder, read_folder
from lora_studio.errors import DatasetError


def read(folder: Path, **changes: object) -> PictureFolder:
    return read_folder(DatasetGroup.model_validate({"train_data_dir": str(folder), **changes}))


def touch(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


def test_a_plain_folder(tmp_path: Path) -> None:
    touch(tmp_path, "b.png", "a.JPG", "c.webp", "notes.md", ".hidden.png")
    (tmp_path / "a.txt").write_text("a dog")
    found = read(tmp_path, num_repeats=3, trigger_word="zwx")
    assert [(p.path.name, p.caption, p.repeats) for p in found.pictures] == [
        ("a.JPG", "zwx, a dog", 3),
        ("b.png", "zwx", 3),
        ("c.webp", "zwx", 3),
    ]
    assert {p.folder for p in found.pictures} == {tmp_path.name}
    assert found.notes == ()


def test_kohyas_layout_brings_repeats_and_class_words(tmp_path: Path) -> None:
    touch(tmp_path / "10_sks dog", "a.png", "b.png")
    touch(tmp_path / "2_cat_with_hat", "c.png")
    touch(tmp_path / "other", "d.png")
    (tmp_path / "10_sks dog" / "a.caption").write_text("a photo")
    found = read(tmp_path, num_repeats=7)
    assert [(p.folder, p.path.name, p.caption, p.repeats) for p in found.pictures] == [
        ("10_sks dog", "a.png", "a photo", 10),
        ("10_sks dog", "b.png", "sks dog", 10),
        ("2_cat_with_hat", "c.png", "cat_with_hat", 2),
    ]


def test_loose_pictures_beside_kohyas_folders_are_left_out_and_said(tmp_path: Path) -> None:
    touch(tmp_path / "10_dog", "a.png")
    touch(tmp_path, "loose.png")
    found = read(tmp_path)
    assert [p.path.name for p in found.pictures] == ["a.png"]
    assert "1 picture beside the sub-folders left out" in found.notes[0]


def test_a_folder_of_no_repeats_is_left_out_and_said(tmp_path: Path) -> None:
    touch(tmp_path / "0_dog", "a.png")
    touch(tmp_path / "1_cat", "b.png")
    found = read(tmp_path)
    assert [p.path.name for p in found.pictures] == ["b.png"]
    assert "0_dog is left out" in found.notes[0]


def test_empty_numbered_folders_do_not_hide_loose_pictures(tmp_path: Path) -> None:
    touch(tmp_path / "10_dog")
    touch(tmp_path, "a.png")
    assert [p.path.name for p in read(tmp_path).pictures] == ["a.png"]


def test_captions_of_several_lines_are_said_once(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "b.png")
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text("one\ntwo")
    found = read(tmp_path)
    assert [p.caption for p in found.pictures] == ["one", "one"]
    assert found.notes == (
        "2 pictures with a caption of several lines, like a.png: only the first line is used.",
    )


def test_no_pictures_and_no_folder_are_told(tmp_path: Path) -> None:
    touch(tmp_path, "readme.txt")
    with pytest.raises(DatasetError, match="There are no pictures in") as caught:
        read(tmp_path)
    assert "10_dog" in caught.value.hint
    with pytest.raises(DatasetError, match="There is no folder"):
        read(tmp_path / "gone")
    with pytest.raises(DatasetError, match="There is no folder"):
        read(tmp_path / "readme.txt")


def test_a_caption_in_another_encoding_stops_at_its_file(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    (tmp_path / "a.txt").write_bytes(b"\xe9")
    with pytest.raises(DatasetError, match=r"a\.txt"):
        read(tmp_path)
