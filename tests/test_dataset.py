from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest
from PIL import Image

from lora_studio.config import TrainConfig
from lora_studio.config_groups import DatasetGroup
from lora_studio.data.training_set.folders import read_folder
from lora_studio.data.training_set.subsets import has_masks
from lora_studio.dataset import Datasets
from lora_studio.errors import DatasetError, StoreError
from lora_studio.settings import Settings
from lora_studio.store.database import Database
from lora_studio.store.job_store import JobStore
from lora_studio.store.library import Library


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "mine"
    folder.mkdir()
    for number, colour in enumerate(("red", "green", "blue")):
        Image.new("RGB", (48, 48), colour).save(folder / f"{colour}.png")
        if number:
            (folder / f"{colour}.txt").write_text(f"a {colour} square", encoding="utf-8")
    return sorted(folder.iterdir())


def test_a_set_is_made_and_found_again(datasets: Datasets, settings: Settings, files: list[Path]) -> None:
    record = datasets.create("  My \n squares ", files)
    assert (record.name, record.images, record.captions, record.refused) == ("My squares", 3, 2, ())
    assert Path(record.path).parent == settings.datasets
    assert datasets.get(record.id) == record
    assert datasets.datasets() == [record]
    assert [(path.name, caption) for path, caption in datasets.pictures(record.id)] == [
        ("blue.png", "a blue square"), ("green.png", "a green square"), ("red.png", ""),
    ]  # fmt: skip


def test_no_usable_picture_leaves_nothing_behind(
    datasets: Datasets, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "notes.png").write_text("text")
    for files in ([], [tmp_path / "notes.png"]):
        with pytest.raises(DatasetError):
            datasets.create("x", files)
    assert list(settings.datasets.iterdir()) == []
    assert datasets.datasets() == []


def test_unknown_sets_are_named(datasets: Datasets) -> None:
    for call in (datasets.get, datasets.pictures, datasets.delete):
        with pytest.raises(StoreError, match="There is no set of pictures"):
            call("../../etc")


def test_captions_are_changed_and_counted(datasets: Datasets, files: list[Path]) -> None:
    record = datasets.create("x", files)
    datasets.set_caption(record.id, "red.png", "  a red\nsquare \0")
    assert {path.name: text for path, text in datasets.pictures(record.id)}["red.png"] == "a red\nsquare"
    assert datasets.get(record.id).captions == 3
    datasets.set_caption(record.id, "blue.png", "")
    datasets.set_caption(record.id, "green.png", " ")
    assert datasets.get(record.id).captions == 1
    assert (Path(record.path) / "blue.txt").read_text("utf-8") == "a blue square\n"
    assert json.loads((Path(record.path) / "dataset.json").read_text("utf-8"))["captions"] == 2
    entries = datasets.edits(record.id).line()
    assert [entry.edits[0].picture for entry in entries] == ["red.png", "blue.png", "green.png"]
    datasets.set_caption(record.id, "green.png", "")
    assert len(datasets.edits(record.id).line()) == 3


def test_a_caption_that_is_too_long_to_be_edited_loses_nothing(
    datasets: Datasets, files: list[Path], tmp_path: Path
) -> None:
    long = tmp_path / "green.txt"
    long.write_text("green, " * 3_000, "utf-8")
    record = datasets.create("x", [*(file for file in files if file.name != long.name), long])
    whole = datasets.captions(record.id)["green.png"]
    assert len(whole) > 20_000
    with pytest.raises(DatasetError, match=r"The caption of green\.png would have 21,000 characters"):
        datasets.set_caption(record.id, "green.png", whole + "!")
    assert datasets.captions(record.id)["green.png"] == whole
    datasets.set_caption(record.id, "green.png", whole[:10_000])
    assert datasets.captions(record.id)["green.png"] == whole[:10_000].strip()


@pytest.mark.parametrize("name", ["../dataset.json", "dataset.json", "missing.png", "", "/etc/passwd"])
def test_only_pictures_of_the_set_get_captions(datasets: Datasets, files: list[Path], name: str) -> None:
    record = datasets.create("x", files)
    with pytest.raises(DatasetError, match="not in this set"):
        datasets.set_caption(record.id, name, "text")


def test_deleting_can_be_undone_also_after_a_restart(
    datasets: Datasets, settings: Settings, database: Database, files: list[Path]
) -> None:
    record = datasets.create("x", files)
    before = datasets.pictures(record.id)
    token = datasets.delete(record.id)
    assert datasets.datasets() == []
    assert not Path(record.path).exists()
    later = Datasets(settings, database)
    assert [entry.token for entry in later.deleted()] == [token]
    later.undo(token)
    assert later.get(record.id) == record
    assert later.pictures(record.id) == before
    with pytest.raises(StoreError, match="nothing to undo"):
        later.undo(token)


def test_a_set_in_use_is_not_deleted(datasets: Datasets, database: Database, files: list[Path]) -> None:
    record = datasets.create("x", files)
    config = TrainConfig.from_values(
        {
            "pretrained_model_name_or_path": "starter",
            "train_data_dir": record.path,
            "output_name": "a",
            "output_dir": "a",
        }
    )
    jobs = JobStore(database)
    job = jobs.create(config)
    with pytest.raises(StoreError, match="needs these pictures"):
        datasets.delete(record.id)
    jobs.stop(job.id)
    datasets.delete(record.id)


def test_rows_are_made_again_from_the_folders(
    datasets: Datasets, settings: Settings, database: Database, files: list[Path]
) -> None:
    kept, gone = datasets.create("kept", files), datasets.create("gone", files)
    database.change("DELETE FROM datasets")
    shutil.rmtree(gone.path)
    (settings.datasets / "odd").mkdir()
    (settings.datasets / "odd" / "dataset.json").write_text("{")
    datasets.scan()
    assert datasets.datasets() == [kept]
    shutil.rmtree(kept.path)
    with pytest.raises(DatasetError, match="is gone"):
        datasets.pictures(kept.id)
    datasets.scan()
    assert datasets.datasets() == []


def test_a_home_that_was_moved_takes_its_sets_along(
    datasets: Datasets, settings: Settings, database: Database, files: list[Path], tmp_path: Path
) -> None:
    record = datasets.create("x", files)
    database.close()
    settings.home.rename(tmp_path / "elsewhere")
    moved = Settings(home=tmp_path / "elsewhere", models=settings.models)
    again = Database(moved.database)
    pictures = Datasets(moved, again).pictures(record.id)
    again.close()
    assert len(pictures) == 3
    assert all(path.is_relative_to(tmp_path / "elsewhere") for path, _ in pictures)


def test_an_upload_that_was_cut_short_is_swept_away_after_a_day(
    datasets: Datasets, settings: Settings, files: list[Path]
) -> None:
    for name, age in (("old.part", 100_000), ("new.part", 100)):
        (settings.datasets / name).mkdir()
        os.utime(settings.datasets / name, (time.time() - age,) * 2)
    datasets.create("x", files)
    assert not (settings.datasets / "old.part").exists()
    assert (settings.datasets / "new.part").exists()


def test_library_rows_hold_records_whole(datasets: Datasets, database: Database, files: list[Path]) -> None:
    record = datasets.create("x", [*files, files[0].with_name("missing.png")])
    assert record.refused
    assert Library(database).dataset(record.id) == record


def test_a_set_is_exported_as_a_kohya_folder(datasets: Datasets, files: list[Path], tmp_path: Path) -> None:
    record = datasets.create("My squares", files)
    folder = tmp_path / "out"
    datasets.export(record.id, folder, repeats=4, class_tokens="a/square", trigger_word="zwx")
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*")) == [
        "4_zwx a square/blue.png",
        "4_zwx a square/blue.txt",
        "4_zwx a square/green.png",
        "4_zwx a square/green.txt",
        "4_zwx a square/red.png",
        "4_zwx a square/red.txt",
        "dataset.toml",
    ]
    found = read_folder(DatasetGroup(train_data_dir=str(folder))).pictures
    assert [(p.caption, p.repeats) for p in found] == [
        ("zwx, a blue square", 4),
        ("zwx, a green square", 4),
        ("zwx a/square", 4),
    ]
    for path, _ in datasets.pictures(record.id):
        assert (folder / "4_zwx a square" / path.name).read_bytes() == path.read_bytes()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_kohya_folders_of_a_set_keep_their_names(
    datasets: Datasets, files: list[Path], tmp_path: Path
) -> None:
    record = datasets.create("Squares", files)
    inner = Path(record.path) / "7_blue thing"
    inner.mkdir()
    (Path(record.path) / "blue.png").rename(inner / "blue.png")
    export = datasets.export(record.id, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["7_blue thing", "dataset.toml"]
    assert [path.name for path in (tmp_path / "out" / "7_blue thing").iterdir()] == ["blue.png"]
    assert "2 pictures beside the sub-folders left out" in " ".join(export.notes)


def test_an_export_goes_only_into_a_new_folder(datasets: Datasets, files: list[Path], tmp_path: Path) -> None:
    record = datasets.create("Squares", files)
    with pytest.raises(DatasetError, match="is there already"):
        datasets.export(record.id, files[0].parent)
    (tmp_path / "empty").mkdir()
    assert datasets.export(record.id, tmp_path / "empty").pictures == 3
    with pytest.raises(DatasetError, match="was stopped"):
        datasets.export(record.id, tmp_path / "stopped", should_stop=lambda: True)
    assert sorted(path.name for path in tmp_path.iterdir() if "stopped" in path.name) == []
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="can't be exported"):
        datasets.export(record.id, tmp_path / "file" / "out")


def test_masks_are_kept_with_their_pictures_and_exported_for_sd_scripts(
    datasets: Datasets, files: list[Path], tmp_path: Path
) -> None:
    mask = files[0].with_name("red-masklabel.png")
    Image.new("L", (48, 48), 255).save(mask)
    record = datasets.create("Squares", [mask, *files])
    assert record.images == 3
    assert [path.name for path, _ in datasets.pictures(record.id)] == ["blue.png", "green.png", "red.png"]
    assert has_masks(Path(record.path))
    found = read_folder(DatasetGroup(train_data_dir=record.path, masked_loss=True))
    assert [picture.mask is not None for picture in found.pictures] == [False, False, True]
    datasets.set_caption(record.id, "red.png", "a red square")
    assert datasets.get(record.id).captions == 3
    folder = tmp_path / "out"
    datasets.export(record.id, folder, repeats=2, class_tokens="square")
    assert len(list((folder / "2_square").glob("*.png"))) == 3
    again = read_folder(DatasetGroup(train_data_dir=str(folder), masked_loss=True)).pictures
    assert [Image.open(picture.mask).getextrema() for picture in again if picture.mask] == 3 * [(255, 255)]


def names(datasets: Datasets, dataset_id: str) -> dict[str, str]:
    return {path.name: caption for path, caption in datasets.pictures(dataset_id)}


def given_to_a_training(database: Database, folder: str) -> None:
    values = {"pretrained_model_name_or_path": "starter", "output_name": "x", "output_dir": "x"}
    JobStore(database).create(TrainConfig.from_values({**values, "train_data_dir": folder}))


def test_pictures_and_captions_are_added(datasets: Datasets, files: list[Path], tmp_path: Path) -> None:
    record = datasets.create("Squares", files[:2])
    datasets.set_caption(record.id, "blue.png", "my own words")
    clear = tmp_path / "clear.png"
    Image.new("RGBA", (48, 48), (0, 0, 0, 0)).save(clear)
    caption = tmp_path / "clear.txt"
    caption.write_text("nothing", "utf-8")
    added = datasets.add(record.id, [clear])
    assert (added.id, added.images, added.captions) == (record.id, 2, 1)
    assert added.transparent == ("clear.png",)
    captioned = datasets.add(record.id, [caption])
    assert names(datasets, record.id) == {"blue.png": "my own words", "clear.png": "nothing"}
    assert captioned.transparent == ("clear.png",)
    assert datasets.get(record.id) == captioned
    with pytest.raises(StoreError):
        datasets.add("0" * 12, [clear])


def test_what_a_training_was_given_stays_as_it_is(
    datasets: Datasets, database: Database, files: list[Path], tmp_path: Path
) -> None:
    record = datasets.create("Squares", files)
    given_to_a_training(database, record.path)
    more = tmp_path / "white.png"
    Image.new("RGB", (48, 48), "white").save(more)
    added = datasets.add(record.id, [more])
    assert added.id != record.id
    assert set(names(datasets, added.id)) == {"blue.png", "green.png", "red.png", "white.png"}
    assert set(names(datasets, record.id)) == {"blue.png", "green.png", "red.png"}
    assert datasets.get(record.id) == record
