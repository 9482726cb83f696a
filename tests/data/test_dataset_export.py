"""Exports of training sets: read again, by us and by sd-scripts' rules, they are the same set."""

from __future__ import annotations

import io
import json
import os
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from lora_studio.config_groups import DatasetGroup
from lora_studio.data.edits.overlay import apply_edits
from lora_studio.data.edits.picture_edits import CropPicture, RemovePicture, SetCaption
from lora_studio.data.pixels.picture_pixels import open_picture
from lora_studio.data.training_set.dataset_export import (
    CONFIG,
    NO_MASKS_BESIDE_REGULARISATION,
    planned_export,
)
from lora_studio.data.training_set.folders import Picture, read_folder
from lora_studio.data.training_set.write_export import write_export
from lora_studio.errors import DatasetError
from lora_studio.settings import Settings
from tests.support import sd_scripts_rules as theirs

Facts = list[tuple[str, bytes, str, int, bool]]


def picture(path: Path, colour: str, caption: str = "", mask: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 48), colour).save(path)
    if caption:
        path.with_suffix(".txt").write_text(caption, "utf-8")
    if mask:
        Image.new("L", (40, 48), mask).save(path.with_name(f"{path.stem}-masklabel.png"))


def facts(pictures: tuple[Picture, ...]) -> Facts:
    return sorted(
        (one.path.stem, open_picture(one.path).tobytes(), one.caption, one.repeats, one.is_reg)
        for one in pictures
    )


def read_again(config: Path) -> tuple[Picture, ...]:
    return read_folder(DatasetGroup(train_data_dir="-", dataset_config=str(config))).pictures


@pytest.fixture
def folder(tmp_path: Path, settings: Settings) -> Path:
    """Two sets with edits: one picture is cropped, one captioned anew, one left out."""
    root = tmp_path / "my set"
    picture(root / "10_sks dog" / "a.png", "red", "a red dog, äöü")
    picture(root / "10_sks dog" / "b.jpg", "green")
    picture(root / "10_sks dog" / "gone.png", "black", "gone")
    picture(root / "2_cat" / "a.png", "blue", "a cat")
    edits = [CropPicture("10_sks dog/a.png", 0, 0, 32, 32), RemovePicture("10_sks dog/gone.png")]
    apply_edits(root, [*edits, SetCaption("2_cat/a.png", "another cat")])
    return root


@pytest.fixture
def regularisation(tmp_path: Path) -> Path:
    picture(tmp_path / "others" / "3_dog" / "reg.png", "grey")
    return tmp_path / "others"


def test_read_again_it_is_the_same_set(folder: Path, regularisation: Path, tmp_path: Path) -> None:
    data = DatasetGroup(train_data_dir=str(folder), reg_data_dir=str(regularisation), trigger_word="zwx")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    export = planned_export(data)
    out = write_export(export, tmp_path / "out")
    assert export.pictures == 4
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.*")) == [
        *("10_sks dog/a.png", "10_sks dog/a.txt", "10_sks dog/b.jpg", "10_sks dog/b.txt"),
        *("2_cat/a.png", "2_cat/a.txt", "dataset.toml", "reg/3_dog/reg.png"),
    ]
    whole = facts(read_folder(data).pictures)
    assert [fact[2:] for fact in whole] == [
        *(("zwx, another cat", 2, False), ("zwx, a red dog, äöü", 10, False), ("zwx, sks dog", 10, False)),
        ("dog", 3, True),
    ]
    assert facts(read_again(out / CONFIG)) == whole
    as_folders = DatasetGroup(train_data_dir=str(out), reg_data_dir=str(out / "reg"))
    assert facts(read_folder(as_folders).pictures) == whole
    seen = theirs.pictures({"dataset_config": str(out / CONFIG)})
    assert sorted((one.caption, one.repeats, one.is_reg) for one in seen) == sorted(one[2:] for one in whole)
    assert {path: path.read_bytes() for path in before} == before


def test_a_zip_holds_the_same(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = DatasetGroup(train_data_dir=str(folder))
    file = write_export(planned_export(data), tmp_path / "out.zip")
    unpacked = tmp_path / "unpacked"
    with zipfile.ZipFile(file) as archive:
        archive.extractall(unpacked)
    assert facts(read_again(unpacked / CONFIG)) == facts(read_folder(data).pictures)
    monkeypatch.chdir(unpacked)
    assert len(theirs.pictures({"dataset_config": CONFIG})) == 3
    assert str(tmp_path) not in (unpacked / CONFIG).read_text("utf-8")


def test_masks_go_where_sd_scripts_finds_them(tmp_path: Path, settings: Settings) -> None:
    root = tmp_path / "set"
    picture(root / "4_dog" / "a.png", "red", "a dog", mask="black")
    picture(root / "4_dog" / "b.png", "green")
    picture(root / "1_cat" / "a.png", "blue", "a cat")
    out = write_export(planned_export(DatasetGroup(train_data_dir=str(root))), tmp_path / "out")
    masks = {path.name: path.read_bytes() for path in (out / "4_dog" / "masks").iterdir()}
    levels = {name: Image.open(io.BytesIO(content)).getextrema() for name, content in masks.items()}
    assert levels == {"a.png": (0, 0), "b.png": (255, 255)}
    seen = theirs.pictures({"dataset_config": str(out / CONFIG)})
    assert [(one.caption, one.repeats) for one in seen] == [("a dog", 4), ("dog", 4), ("a cat", 1)]
    data = DatasetGroup(train_data_dir="-", dataset_config=str(out / CONFIG), masked_loss=True)
    assert [one.mask is not None for one in read_folder(data).pictures] == [True, True, False]


def test_masks_beside_regularisation_are_said(
    tmp_path: Path, regularisation: Path, settings: Settings
) -> None:
    picture(tmp_path / "set" / "a.png", "red", "a dog", mask="white")
    data = DatasetGroup(train_data_dir=str(tmp_path / "set"), reg_data_dir=str(regularisation))
    export = planned_export(data)
    assert NO_MASKS_BESIDE_REGULARISATION in export.notes
    out = write_export(export, tmp_path / "out")
    assert facts(read_again(out / CONFIG)) == facts(read_folder(data).pictures)


def test_options_of_a_dataset_config_are_kept(
    folder: Path, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "mine.toml"
    config.write_text(
        """
        [general]
        shuffle_caption = true
        [[datasets]]
        resolution = [256, 320]
        batch_size = 3
        enable_bucket = false
          [[datasets.subsets]]
          image_dir = "my set/2_cat"
          num_repeats = 7
          class_tokens = "tom"
          face_crop_aug_range = [2.0, 4.0]
          enable_wildcard = true
        [[datasets]]
        resolution = 128
          [[datasets.subsets]]
          image_dir = "my set/2_cat"
        """,
        "utf-8",
    )
    monkeypatch.chdir(tmp_path)
    data = DatasetGroup(train_data_dir="-", dataset_config=str(config))
    out = write_export(planned_export(data), tmp_path / "out")
    assert {path.name for path in out.iterdir()} == {"7_tom", "1_cat", CONFIG}
    mine = read_folder(data)
    again = read_folder(data.model_copy(update={"dataset_config": str(out / CONFIG)}))
    sizes = ("resolution", "resolution_height", "train_batch_size", "enable_bucket")
    assert [[getattr(one, name) for name in sizes] for one in again.datasets] == [
        [256, 320, 3, False],
        [128, None, 1, True],
    ]
    written = {"caption_extension": ".txt", "dataset_config": str(out / CONFIG)}
    assert [one.settings for one in again.pictures] == [
        one.settings.model_copy(update=written) for one in mine.pictures
    ]
    assert facts(again.pictures) == facts(mine.pictures)


def write_gif(path: Path) -> None:
    Image.new("P", (40, 48), 3).save(path)


def write_turned(path: Path) -> None:
    Image.new("RGB", (40, 48), "red").save(path)


@pytest.mark.parametrize(
    ("name", "write", "written"), [("a.gif", write_gif, "a.png"), ("A.TIF", write_turned, "A.png")]
)
def test_pictures_that_sd_scripts_can_not_read_become_png(
    name: str, write: Callable[[Path], None], written: str, tmp_path: Path, settings: Settings
) -> None:
    (tmp_path / "set").mkdir()
    write(tmp_path / "set" / name)
    data = DatasetGroup(train_data_dir=str(tmp_path / "set"))
    out = write_export(planned_export(data), tmp_path / "out")
    assert [path.name for path in (out / "1_set").iterdir()] == [written]
    assert facts(read_again(out / CONFIG)) == facts(read_folder(data).pictures)


def test_two_pictures_of_one_name_keep_their_captions(tmp_path: Path, settings: Settings) -> None:
    picture(tmp_path / "set" / "a.png", "red")
    picture(tmp_path / "set" / "a.jpg", "green")
    apply_edits(tmp_path / "set", [SetCaption("a.png", "red"), SetCaption("a.jpg", "green\ngrass")])
    data = DatasetGroup(train_data_dir=str(tmp_path / "set"))
    out = write_export(planned_export(data), tmp_path / "out")
    there = {path.name: path.read_text("utf-8") for path in out.rglob("*.txt")}
    assert there == {"a.txt": "green\ngrass\n", "a-2.txt": "red\n"}


def test_only_a_new_place_is_written_to(folder: Path, tmp_path: Path) -> None:
    export = planned_export(DatasetGroup(train_data_dir=str(folder)))
    for target in (folder, folder / "10_sks dog" / "a.png"):
        with pytest.raises(DatasetError, match="is there already"):
            write_export(export, target)
    for name in ("new", "new.zip"):
        with pytest.raises(DatasetError, match="was stopped"):
            write_export(export, tmp_path / name, lambda: True)
        assert [path.name for path in tmp_path.iterdir() if "new" in path.name] == []


def test_names_that_other_systems_take_for_the_same_are_told_apart(
    tmp_path: Path, settings: Settings
) -> None:
    root = tmp_path / "set"
    for number, name in enumerate(("10_dog/é.png", "10_dog/e\u0301.png", "10_dog/É.png", "10_Dog/é.png")):
        picture(root / name, "red", caption=f"caption {number}")
    file = write_export(planned_export(DatasetGroup(train_data_dir=str(root))), tmp_path / "out.zip")
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        captions = {archive.read(name).decode().strip() for name in names if name.endswith(".txt")}
    assert len({unicodedata.normalize("NFC", name).casefold() for name in names}) == len(names) == 9
    assert captions == {f"caption {number}" for number in range(4)}


def test_a_class_that_no_folder_can_be_called_stays_the_caption(tmp_path: Path, settings: Settings) -> None:
    picture(tmp_path / "set" / "a.png", "red")
    data = DatasetGroup(train_data_dir=str(tmp_path / "set"))
    out = write_export(planned_export(data, "..."), tmp_path / "out")
    assert [path.name for path in out.iterdir() if path.is_dir()] == ["1_pictures"]
    for again in (DatasetGroup(train_data_dir=str(out)), {"dataset_config": str(out / CONFIG)}):
        found = theirs.pictures(again) if isinstance(again, dict) else read_folder(again).pictures
        assert [one.caption for one in found] == ["..."]


def test_a_caption_of_nothing_but_the_trigger_word_is_a_caption(tmp_path: Path, settings: Settings) -> None:
    picture(tmp_path / "set" / "a.png", "red", caption="sks")
    picture(tmp_path / "set" / "b.png", "red")
    data = DatasetGroup(train_data_dir=str(tmp_path / "set"), trigger_word="sks")
    out = write_export(planned_export(data, "dog"), tmp_path / "out")
    seen = theirs.pictures({"dataset_config": str(out / CONFIG)})
    assert [(one.name, one.caption) for one in seen] == [("a.png", "sks"), ("b.png", "sks dog")]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029"])
def test_other_separators_of_lines_end_no_caption(separator: str, tmp_path: Path, settings: Settings) -> None:
    """They come from what was pasted; a line of a caption ends where a file's does."""
    text = f"one{separator}two"
    for name in ("file", "table", "edit"):
        picture(tmp_path / "set" / f"{name}.png", "red", caption=text if name == "file" else "")
    row = {"file_name": "table.png", "text": text}
    (tmp_path / "set" / "metadata.jsonl").write_text(json.dumps(row), "utf-8")
    apply_edits(tmp_path / "set", [SetCaption("edit.png", text)])
    data = DatasetGroup(train_data_dir=str(tmp_path / "set"))
    assert {one.path.stem: one.caption for one in read_folder(data).pictures} == dict.fromkeys(
        ("file", "table", "edit"), text
    )
    assert (
        facts(read_again(write_export(planned_export(data), tmp_path / "out") / CONFIG))[0][2][-3:] == "two"
    )


def test_half_letters_are_no_reason_to_refuse_a_set(tmp_path: Path, settings: Settings) -> None:
    """JSON can hold half of a letter, and so can a name on the disk."""
    picture(tmp_path / "set" / "a.png", "red")
    picture(tmp_path / "set" / "\udcff.png", "red")
    (tmp_path / "set" / "metadata.jsonl").write_text('{"file_name": "a.png", "text": "x\\ud800y"}', "utf-8")
    data = DatasetGroup(train_data_dir=str(tmp_path / "set"), trigger_word="z")
    export = planned_export(data, "dog\udcff")
    for name in ("out", "out.zip", "\udcff.zip"):
        write_export(export, tmp_path / name)
    seen = theirs.pictures({"dataset_config": str(tmp_path / "out" / CONFIG)})
    assert sorted(one.caption for one in seen) == ["z dog?", "z, x?y"]
    with pytest.raises(DatasetError, match="can't name the folder"):
        write_export(export, tmp_path / "out\udcff")


def test_times_that_a_zip_has_not_are_no_reason_to_refuse_a_set(tmp_path: Path, settings: Settings) -> None:
    for name, seconds in (("old", 0), ("new", 5_000_000_000)):
        picture(tmp_path / "set" / f"{name}.png", "red")
        os.utime(tmp_path / "set" / f"{name}.png", (seconds, seconds))
    data = DatasetGroup(train_data_dir=str(tmp_path / "set"))
    with zipfile.ZipFile(write_export(planned_export(data), tmp_path / "out.zip")) as archive:
        assert [one.date_time[0] for one in archive.infolist()[:2]] == [2107, 1980]


def test_a_place_that_is_no_new_one_is_refused_in_its_words(folder: Path, tmp_path: Path) -> None:
    export = planned_export(DatasetGroup(train_data_dir=str(folder)))
    (tmp_path / "empty.zip").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "link").symlink_to(tmp_path / "empty.zip")
    for name in ("empty.zip", "dangling", "link"):
        with pytest.raises(DatasetError, match="is there already"):
            write_export(export, tmp_path / name)
