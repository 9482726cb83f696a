"""Folders that somebody names for a training, taken in as their edits make them."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from lora_studio.data.edits.edit_log import EditLog
from lora_studio.data.edits.overlay import apply_edits
from lora_studio.data.edits.picture_edits import CropPicture, RemovePicture, RotatePicture, SetCaption
from lora_studio.data.ingestion.given_files import files_as_edited
from lora_studio.dataset import Datasets
from lora_studio.errors import DatasetError
from lora_studio.settings import Settings
from lora_studio.store.database import Database


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "set"
    (root / "3_sks dog" / "masks").mkdir(parents=True)
    for name in ("a.jpg", "a.png", "b.png", "c.png"):
        Image.new("RGB", (80, 48), "teal").save(root / "3_sks dog" / name)
    (root / "3_sks dog" / "b.txt").write_text("a dog\nan old dog\n", "utf-8")
    Image.new("L", (80, 48), 255).save(root / "3_sks dog" / "masks" / "c.png")
    apply_edits(root, [RotatePicture("3_sks dog/a.jpg", 90), SetCaption("3_sks dog/a.jpg", "turned")])
    EditLog(root).name_version("turned")
    apply_edits(root, [RemovePicture("3_sks dog/b.png"), CropPicture("3_sks dog/c.png", 0, 0, 40, 48)])
    return root


def test_a_folder_is_taken_in_as_edited(folder: Path, settings: Settings, database: Database) -> None:
    datasets = Datasets(settings, database)
    with files_as_edited(folder) as files:
        record = datasets.create("Dogs", files)
    assert not files[0].exists()
    sizes = {}
    for path, caption in datasets.pictures(record.id):
        with Image.open(path) as image:
            sizes[path.parent.name, path.name] = image.size, caption
    assert sizes == {
        ("3_sks dog", "a.png"): ((48, 80), "turned"),
        ("3_sks dog", "a-2.png"): ((80, 48), ""),
        ("3_sks dog", "c.png"): ((40, 48), ""),
    }
    with Image.open(Path(record.path) / "3_sks dog" / "c-masklabel.png") as mask:
        assert mask.size == (40, 48)


def test_a_version_of_a_folder_is_taken_in(folder: Path) -> None:
    with files_as_edited(folder, "turned") as files:
        names = {path.name: path.read_text("utf-8") for path in files if path.suffix == ".txt"}
    assert names == {"a.txt": "turned\n", "b.txt": "a dog\nan old dog\n"}
    with files_as_edited(folder, "originals") as files:
        assert folder / "3_sks dog" / "b.png" in files
    with pytest.raises(DatasetError, match="There is no version"), files_as_edited(folder, "gone"):
        pass


@pytest.mark.parametrize("place", ["", "3_dog/"])
def test_a_folder_without_masks_is_taken_in_as_edited(tmp_path: Path, place: str) -> None:
    (tmp_path / place).mkdir(exist_ok=True)
    for name in (f"{place}a.png", "unused.png", "unused-masklabel.png")[: 3 if place else 1]:
        Image.new("RGB", (80, 48), "teal").save(tmp_path / name)
    apply_edits(tmp_path, [RotatePicture(f"{place}a.png", 90)])
    with files_as_edited(tmp_path) as files, Image.open(files[0]) as image:
        assert ([path.name for path in files], image.size) == (["a.png"], (48, 80))
