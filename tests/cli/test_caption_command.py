"""`lora-studio dataset caption`: what it never writes over, what it leaves out, and the way back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from lora_studio.captioning import caption_run
from lora_studio.captioning.starter_captioner import StarterCaptioner
from lora_studio.config_groups import DatasetGroup
from lora_studio.data.edits.overlay import apply_edits
from lora_studio.data.edits.picture_edits import SetCaption
from lora_studio.data.training_set.folders import read_folder
from tests.support.command import Command
from tests.support.tiny_taggers import make_tiny_tagger


def picture(path: Path, caption: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 64)).save(path)
    if caption:
        path.with_suffix(".txt").write_text(caption, "utf-8")
    return path


def captions_of(folder: Path) -> dict[str, str]:
    found = read_folder(DatasetGroup(train_data_dir=str(folder))).pictures
    return {f"{one.path.parent.name}/{one.path.name}": one.caption for one in found}


def test_an_engine_never_writes_over_what_came_meanwhile(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "s"
    for name in ("0", "1", "2", "3", "4"):
        picture(folder / f"{name}.png")
    apply_edits(folder, [SetCaption("4.png", "")])  # taken away on purpose
    calls = iter(range(9))

    def captions(self: StarterCaptioner, images: Sequence[Image.Image]) -> list[str]:
        if next(calls) == 3:
            (folder / "2.txt").write_text("typed", "utf-8")
            apply_edits(folder, [SetCaption("3.png", "edited")])
        return ["thing"] * len(images)

    monkeypatch.setattr(StarterCaptioner, "batch", 1)
    monkeypatch.setattr(StarterCaptioner, "captions", captions)
    monkeypatch.setattr(caption_run, "KEPT_AT_ONCE", 3)
    out = command("dataset", "caption", folder, "--engine", "starter").out
    assert "4 pictures to caption; 1 with a caption, which stays" in out
    assert "2 pictures left as they are: somebody captioned them meanwhile.\n2 pictures captioned" in out
    assert [*captions_of(folder).values()] == ["thing", "thing", "typed", "edited", ""]


def test_one_undo_takes_a_run_or_a_change_of_several_logs_back(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "s"
    for name in ("1_a", "2_b"):
        picture(folder / name / "x.png", "cat, dog")
    (folder / "1_a" / "edits.jsonl").write_text("", "utf-8")
    before = captions_of(folder)
    command("dataset", "caption", folder, "--replace", "cat", "cow")
    assert {*captions_of(folder).values()} == {"cow, dog"}
    undo = ("dataset", "caption", folder, "--undo")
    assert command(*undo, "--dry-run").out == "2 edits would be taken back.\n"
    assert {*captions_of(folder).values()} == {"cow, dog"}
    assert command(*undo).out == "2 edits taken back.\n"
    assert captions_of(folder) == before
    for name in ("x", "y", "z"):
        picture(folder / "3_c" / f"{name}.png")
    monkeypatch.setattr(StarterCaptioner, "batch", 1)
    monkeypatch.setattr(StarterCaptioner, "captions", lambda self, images: ["thing"] * len(images))
    monkeypatch.setattr(caption_run, "KEPT_AT_ONCE", 1)
    command("dataset", "caption", folder, "--engine", "starter")
    assert command(*undo).out == "3 edits taken back.\n"
    assert command(*undo).code == 2


def test_what_no_rule_changes_is_said_and_all_lines_are_kept(command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "s"
    picture(folder / "10_sks dog" / "a.png")
    picture(folder / "10_sks dog" / "b.png", "sks dog, red")
    picture(folder / "10_sks dog" / "long.png", "w" * 70_000)
    picture(folder / "10_sks dog" / "old.png").with_suffix(".txt").write_bytes("кот".encode("cp1251"))
    out = command("dataset", "caption", folder, "--remove", "sks dog", "--form", "tags").out
    assert "10_sks dog/long.png: long.txt is longer than 64,000 bytes." in out
    assert "10_sks dog/old.png: its encoding is not certain." in out
    assert "Left out: 2 captions that can't be read or named.\n" in out
    assert "Left out: 1 picture whose caption is the name of the folder.\n" in out
    assert out.endswith("1 of 1 caption changed (tags).\n")
    lines = tmp_path / "lines"
    picture(lines / "a.png")
    (lines / "metadata.jsonl").write_text('{"file_name": "a.png", "text": "one\\ntwo"}', "utf-8")
    assert "1 of 1 caption changed" in command("dataset", "caption", lines, "--add", "zoo").out
    read = read_folder(DatasetGroup(train_data_dir=str(lines), enable_wildcard=True))
    assert read.pictures[0].caption == "one zoo\ntwo zoo"


def test_a_tagger_of_a_folder_writes_tags(command: Command, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    make_tiny_tagger(tmp_path / "tagger")
    folder = tmp_path / "s"
    picture(folder / "a.png")
    options = ("--engine", "wd14", "--model", tmp_path / "tagger", "--trigger", "zwx")
    sure = ("--general_threshold", "0", "--character_threshold", "2", "--no-remove_underscore")
    command("dataset", "caption", folder, *options, *sure, "--undesired_tags", "1girl, ^_^")
    assert {*captions_of(folder)["s/a.png"].split(", ")} == {"zwx", "long_hair", "||_||", "red_hair"}
    assert command("dataset", "caption", folder, *options, "--general_threshold", "9").code == 2
