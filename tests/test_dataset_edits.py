"""Edits of a set in the home: counts, versions, exports, and files that stay as they came."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lora_studio import dataset
from lora_studio.config_groups import DatasetGroup
from lora_studio.data.edits.edit_log import EditLog
from lora_studio.data.edits.overlay import apply_edits
from lora_studio.data.edits.picture_edits import (
    CropPicture,
    Edit,
    FlipPicture,
    RemovePicture,
    RotatePicture,
    SetCaption,
)
from lora_studio.data.training_set.folders import read_folder
from lora_studio.dataset import Datasets
from lora_studio.errors import DatasetError
from lora_studio.files import sha256
from lora_studio.records import DatasetRecord
from lora_studio.store.database import Database
from lora_studio.studio import Studio
from lora_studio.training_request import StartTraining


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "mine"
    folder.mkdir()
    for colour in ("red", "green", "blue"):
        picture = Image.new("RGB", (48, 48), colour)
        picture.paste("white", (0, 0, 24, 48))
        picture.save(folder / f"{colour}.png")
    (folder / "green.txt").write_text("a green square", "utf-8")
    return sorted(folder.iterdir())


def names(datasets: Datasets, record: DatasetRecord) -> dict[str, str]:
    return {path.name: caption for path, caption in datasets.pictures(record.id)}


def hashes(record: DatasetRecord) -> dict[str, str]:
    """Sums of all files of a set but the log of its edits."""
    files = (path for path in Path(record.path).rglob("*") if path.is_file() and path.name != "edits.jsonl")
    return {str(path): sha256(path) for path in files}


def test_a_picture_is_removed_and_put_back(datasets: Datasets, files: list[Path], tmp_path: Path) -> None:
    clear = tmp_path / "clear.webp"
    Image.new("RGBA", (48, 48), (0, 0, 0, 0)).save(clear)
    record = datasets.create("Squares", [*files, clear])
    before = hashes(record)
    assert any(warning.startswith("1 picture (clear.webp") for warning in record.warnings)
    without = datasets.edit(record.id, [RemovePicture("clear.png")])
    assert not any(warning.startswith("1 picture (clear.webp") for warning in without.warnings)
    without = datasets.edit(record.id, [RemovePicture("green.png")], why="near duplicates")
    assert (without.images, without.captions) == (2, 0)
    assert "2 pictures only" in without.warnings[-1]
    assert set(names(datasets, record)) == {"blue.png", "red.png"}
    back = datasets.undo_edit(record.id)
    assert (back.id, back.images, back.captions) == (record.id, 3, 1)
    assert next(warning for warning in back.warnings if "only" in warning).startswith("3 pictures")
    assert datasets.undo_edit(record.id) == record == datasets.get(record.id)
    assert datasets.redo_edit(record.id).images == 3
    assert hashes(record) == before
    assert datasets.deleted() == []


def test_edits_that_do_not_fit_change_nothing(datasets: Datasets, files: list[Path]) -> None:
    record = datasets.create("Squares", files)
    every = [RemovePicture(f"{colour}.png") for colour in ("red", "green", "blue")]
    with pytest.raises(DatasetError, match="No picture would be left"):
        datasets.edit(record.id, every)
    for file in ("../red.png", "/etc/passwd"):
        with pytest.raises(DatasetError, match="names no picture"):
            datasets.edit(record.id, [every[0], RemovePicture(file)])
    datasets.edit(record.id, [every[0]])
    with pytest.raises(DatasetError, match="There is no picture"):
        datasets.edit(record.id, [every[0]])
    assert len(datasets.edits(record.id).line()) == 1


def test_versions_are_named_and_gone_back_to(datasets: Datasets, files: list[Path]) -> None:
    record = datasets.create("Squares", files)
    datasets.edit(record.id, [SetCaption("red.png", "red"), RemovePicture("blue.png")])
    datasets.name_version(record.id, "first")
    datasets.edit(record.id, [RemovePicture("green.png")])
    assert datasets.go_to_version(record.id, "originals") == record
    assert datasets.go_to_version(record.id, "first").images == 2
    assert names(datasets, record) == {"green.png": "a green square", "red.png": "red"}


def test_edits_are_counted_again_when_the_database_is_lost(
    datasets: Datasets, database: Database, files: list[Path]
) -> None:
    record = datasets.create("Squares", files)
    edited = datasets.edit(record.id, [RemovePicture("green.png")])
    database.change("DELETE FROM datasets")
    datasets.scan()
    assert datasets.get(record.id) == edited


def test_edited_pictures_are_exported(datasets: Datasets, files: list[Path], tmp_path: Path) -> None:
    mask = files[0].with_name("red-masklabel.png")
    Image.new("L", (48, 48), 255).save(mask)
    record = datasets.create("Squares", [mask, *files])
    before = hashes(record)
    datasets.edit(record.id, [FlipPicture("red.png"), CropPicture("red.png", 0, 0, 40, 48)])
    datasets.edit(record.id, [RemovePicture("blue.png"), SetCaption("green.png", "grass")])
    folder = tmp_path / "out"
    datasets.export(record.id, folder, repeats=2, class_tokens="square")
    there = sorted(path.name for path in (folder / "2_square").iterdir())
    assert there == ["green.png", "green.txt", "masks", "red.png", "red.txt"]
    assert (folder / "2_square" / "green.txt").read_text("utf-8") == "grass\n"
    for path in (folder / "2_square" / "red.png", datasets.pictures(record.id)[1][0]):
        with Image.open(path) as image:
            assert image.size == (40, 48)
            assert (image.getpixel((0, 0)), image.getpixel((39, 0))) == ((255, 0, 0), (255, 255, 255))
    with Image.open(folder / "2_square" / "masks" / "red.png") as image:
        assert image.size == (40, 48)
    EditLog(Path(record.path)).append([CropPicture("red.png", 0, 0, 99, 99)])
    export = datasets.export(record.id, tmp_path / "without")
    assert (export.pictures, "The crop of red.png" in " ".join(export.notes)) == (1, True)
    assert len(datasets.pictures(record.id)) == 2
    assert hashes(record) == before


def test_more_pictures_keep_the_edits(datasets: Datasets, files: list[Path], tmp_path: Path) -> None:
    record = datasets.create("Squares", files)
    datasets.edit(record.id, [RemovePicture("blue.png"), SetCaption("red.png", "red")])
    inner = tmp_path / "4_thing"
    inner.mkdir()
    Image.new("RGB", (48, 48), "white").save(inner / "white.png")
    archive = shutil.make_archive(str(tmp_path / "more"), "zip", tmp_path, "4_thing")
    added = datasets.add(record.id, [Path(archive)])
    assert (added.id, added.images, added.captions) == (record.id, 3, 2)
    assert names(datasets, record) == {"green.png": "a green square", "red.png": "red", "white.png": ""}
    assert datasets.undo_edit(record.id).images == 4


def test_a_picture_is_left_in_folders_with_repeats_too(
    datasets: Datasets, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, picture in (("10_dog", files[0]), ("3_cat", files[-1])):
        (tmp_path / "both" / folder).mkdir(parents=True)
        shutil.copy(picture, tmp_path / "both" / folder)
    record = datasets.create(
        "Both", [Path(shutil.make_archive(str(tmp_path / "both"), "zip", tmp_path / "both"))]
    )
    dog, cat = (RemovePicture(str(path)) for path in ("10_dog/blue.png", "3_cat/red.png"))
    with pytest.raises(DatasetError, match="No picture would be left"):
        datasets.edit(record.id, [dog, cat])

    def apply_after_another(folder: Path, edits: Sequence[Edit], *rest: Any, **more: Any) -> Any:
        apply_edits(folder, [cat])
        return apply_edits(folder, edits, *rest, **more)

    monkeypatch.setattr(dataset, "apply_edits", apply_after_another)
    with pytest.raises(DatasetError, match="No picture would be left"):
        datasets.edit(record.id, [dog])
    assert set(names(datasets, record)) == {"blue.png"}


def test_an_edit_that_is_made_while_pictures_are_added_holds(
    datasets: Datasets, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = datasets.create("Squares", files[:3])
    datasets.edit(record.id, [SetCaption("green.png", "grass")])
    edits = threading.Thread(target=datasets.edit, args=(record.id, [SetCaption("blue.png", "sky")]))
    copyfile = shutil.copyfile

    def copy_and_edit(source: Path, target: Path) -> None:
        copyfile(source, target)
        edits.start()
        edits.join(0.2)

    monkeypatch.setattr(dataset.shutil, "copyfile", copy_and_edit)
    datasets.add(record.id, files[3:])
    edits.join()
    assert names(datasets, record) == {"blue.png": "sky", "green.png": "grass", "red.png": ""}


def test_a_caption_that_is_added_holds_over_an_edited_one(
    datasets: Datasets, files: list[Path], tmp_path: Path
) -> None:
    record = datasets.create("Squares", files)
    datasets.edit(record.id, [SetCaption("red.png", "rose"), SetCaption("green.png", "grass")])
    caption = tmp_path / "red.txt"
    caption.write_text("a red square", "utf-8")
    datasets.add(record.id, [caption])
    assert names(datasets, record) == {"blue.png": "", "green.png": "grass", "red.png": "a red square"}
    datasets.undo_edit(record.id)
    assert names(datasets, record)["red.png"] == "rose"


def test_nothing_is_said_of_the_double_of_a_picture_that_is_left_out(
    datasets: Datasets, files: list[Path], tmp_path: Path
) -> None:
    record = datasets.create("Squares", files)
    datasets.edit(record.id, [RemovePicture("red.png")])
    again = shutil.copy(tmp_path / "mine" / "red.png", tmp_path / "rose.png")
    added = datasets.add(record.id, [Path(again)])
    assert (added.images, [one for one in added.warnings if "twice" in one]) == (3, [])
    assert any("twice" in one for one in datasets.undo_edit(record.id).warnings)


def test_edits_of_another_state_than_the_one_that_was_seen_are_refused(
    datasets: Datasets, files: list[Path]
) -> None:
    """Two pages show a set, and one of them edits it."""
    record = datasets.create("Squares", files)
    datasets.edit(record.id, [FlipPicture("blue.png")])
    seen = datasets.edits(record.id).head
    datasets.edit(record.id, [RotatePicture("red.png", 90), SetCaption("green.png", "grass")])
    refused: list[Edit] = [CropPicture("red.png", 0, 0, 40, 40), SetCaption("green.png", "moss")]
    for edit in (*refused, RemovePicture("red.png")):
        with pytest.raises(DatasetError, match=f"{edit.picture} was edited elsewhere") as caught:
            datasets.edit(record.id, [edit], after=seen)
        assert caught.value.hint.startswith("Reload the page")
    for step in (datasets.undo_edit, datasets.redo_edit):
        with pytest.raises(DatasetError, match="edited elsewhere after you saw them"):
            step(record.id, after=seen)
    with pytest.raises(DatasetError, match="There is no version"):
        datasets.edit(record.id, refused[:1], after="gone")
    others = [CropPicture("green.png", 0, 0, 40, 40), FlipPicture("green.png"), SetCaption("red.png", "red")]
    datasets.edit(record.id, others, after=seen)
    now = datasets.edits(record.id).head
    datasets.undo_edit(record.id, after=now)
    datasets.redo_edit(record.id, after=datasets.edits(record.id).head)
    datasets.edit(record.id, refused, after=now)


def test_a_training_keeps_the_edits_that_it_was_started_with(studio: Studio, files: list[Path]) -> None:
    record = studio.datasets.create("Squares", files)

    def started() -> DatasetGroup:
        return studio.trainings.config(
            StartTraining(dataset_id=record.id, name="Square", kind="object")
        ).dataset

    def seen(data: DatasetGroup) -> dict[str, str]:
        pictures = (picture for picture in read_folder(data).pictures if not picture.is_reg)
        return {picture.path.name: picture.caption for picture in pictures}

    first = started()
    studio.datasets.edit(record.id, [RemovePicture("red.png"), SetCaption("blue.png", "mimi, blue")])
    studio.datasets.edit(record.id, [SetCaption("green.png", "mimi, green")])
    second = started()
    studio.datasets.go_to_version(record.id, "originals")
    assert first.dataset_version == "originals"
    assert set(seen(first)) == {"red.png", "green.png", "blue.png"}
    word = second.trigger_word
    assert seen(second) == {"blue.png": f"{word}, mimi, blue", "green.png": f"{word}, mimi, green"}
    assert seen(started()) == seen(first)


def test_a_training_keeps_what_a_version_was_at_its_start(studio: Studio, files: list[Path]) -> None:
    record = studio.datasets.create("Squares", files)
    studio.datasets.edit(record.id, [FlipPicture("red.png")])
    studio.datasets.name_version(record.id, "first")
    first = studio.datasets.edits(record.id).head
    wanted = StartTraining(
        dataset_id=record.id, name="Square", kind="object", overrides={"dataset_version": "first"}
    )
    assert studio.trainings.config(wanted).dataset.dataset_version == first
    gone = StartTraining(
        dataset_id=record.id, name="Square", kind="object", overrides={"dataset_version": "gone"}
    )
    with pytest.raises(DatasetError, match="There is no version 'gone'"):
        studio.trainings.config(gone)


def test_only_pictures_are_edited(datasets: Datasets, files: list[Path]) -> None:
    record = datasets.create("Squares", files)
    datasets.edit(record.id, [FlipPicture("red.png")])
    for name in ("green.txt", "edits.jsonl", "dataset.json"):
        with pytest.raises(DatasetError, match="There is no picture"):
            datasets.edit(record.id, [RemovePicture(name)])
