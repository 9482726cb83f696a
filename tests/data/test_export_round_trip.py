"""A set that was exported and taken in again is the same set: pictures, captions, repeats, masks, options."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lora_studio.config_groups import DatasetGroup
from lora_studio.data.edits.picture_edits import RotatePicture, SetCaption
from lora_studio.data.pixels.picture_pixels import open_picture
from lora_studio.data.training_set.dataset_export import planned_export, subset_options
from lora_studio.data.training_set.folders import read_folder
from lora_studio.data.training_set.run_subsets import SUBSETS, options_of_set
from lora_studio.data.training_set.write_export import write_export
from lora_studio.dataset import Datasets
from lora_studio.errors import ConfigError
from lora_studio.parsing.toml_text import write_table
from lora_studio.settings import Settings
from lora_studio.store.database import Database
from lora_studio.studio import Studio
from lora_studio.training_request import StartTraining
from tests.support.properties import examples

WORDS = st.text(st.sampled_from("abz é猫,|{}\"'\\:#[]"), min_size=1, max_size=12).map(
    lambda text: " ".join(text.split()) or "a"
)
COLOURS = ("red", "green", "blue", "white", "black", "teal", "olive", "navy")


@dataclass(frozen=True)
class DrawnSubset:
    """A subset of a set that is made: the captions of its pictures, empty for none, and which have masks."""

    captions: tuple[str, ...]
    masks: tuple[bool, ...]
    options: dict[str, Any]
    repeats: int
    words: str
    is_reg: bool


SUBSETS_DRAWN = st.builds(
    DrawnSubset,
    captions=st.lists(st.one_of(st.just(""), WORDS), min_size=1, max_size=3).map(tuple),
    masks=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    options=st.fixed_dictionaries(
        {},
        optional={
            "flip_aug": st.booleans(),
            "shuffle_caption": st.booleans(),
            "keep_tokens": st.integers(0, 3),
            "caption_prefix": WORDS,
            "caption_dropout_rate": st.sampled_from((0.0, 0.25)),
            "enable_wildcard": st.just(True),
        },
    ),
    repeats=st.integers(1, 40),
    words=st.one_of(st.just(""), WORDS),
    is_reg=st.booleans(),
)
DATASETS = st.fixed_dictionaries(
    {"resolution": st.sampled_from((256, [256, 320]))},
    optional={"batch_size": st.integers(1, 4), "min_bucket_reso": st.sampled_from((128, 192))},
)
DATASETS_DRAWN = st.tuples(DATASETS, st.lists(SUBSETS_DRAWN, min_size=1, max_size=3))


def made(folder: Path, datasets: list[tuple[dict[str, Any], list[DrawnSubset]]]) -> Path:
    """Folders with a dataset config, with paths that are whole ones."""
    tables, number = [], 0
    for options, subsets in datasets:
        tables.append(write_table("[datasets]", options))
        for subset in subsets:
            place, number = folder / f"set {number}", number + 1
            (place / "white").mkdir(parents=True)
            for index, caption in enumerate(subset.captions):
                colour = COLOURS[(number + index) % len(COLOURS)]
                Image.new("RGB", (40, 48 + 8 * index), colour).save(place / f"p{index}.png")
                if caption:
                    (place / f"p{index}.txt").write_text(caption, "utf-8")
                if subset.masks[index]:
                    Image.new("L", (40, 48 + 8 * index), 80).save(place / "white" / f"p{index}.png")
            table = {"image_dir": str(place), "num_repeats": subset.repeats, **subset.options}
            table |= {"is_reg": True} if subset.is_reg else {}
            table |= {"class_tokens": subset.words} if subset.words else {}
            if any(subset.masks[: len(subset.captions)]):
                table["conditioning_data_dir"] = str(place / "white")
            tables.append(write_table("[datasets.subsets]", table))
    config = folder / "mine.toml"
    config.write_text("\n".join(tables), "utf-8")
    return config


def facts(data: DatasetGroup) -> list[tuple[Any, ...]]:
    """All that a training sees of a set, whatever its files and folders are called, and however its subsets
    with and without masks are divided, which sd-scripts wants apart."""
    try:
        found = read_folder(data.model_copy(update={"masked_loss": True}))
    except ConfigError:  # there are none
        found = read_folder(data)
    sizes = [(one.resolution, one.resolution_height, one.train_batch_size) for one in found.datasets]
    return sorted(
        (
            open_picture(one.path).size,
            open_picture(one.path).getpixel((0, 0)),
            one.caption,
            (one.repeats, one.is_reg, sizes[one.dataset], one.settings.min_bucket_reso),
            # One without a mask counts as a whole, and so does one with a white mask.
            Image.open(one.mask).convert("L").getextrema() if one.mask else (255, 255),
            repr(sorted(subset_options(one.settings).items())),
        )
        for one in found.pictures
    )


def of_set(folder: str) -> DatasetGroup:
    return DatasetGroup.model_validate({"train_data_dir": folder, **options_of_set(folder)})


def of_config(config: Path) -> DatasetGroup:
    return DatasetGroup(train_data_dir="-", dataset_config=str(config))


@pytest.mark.slow
@examples(16)
@given(data=st.data())
def test_any_set(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory, settings: Settings, database: Database
) -> None:
    check_round_trip(data, tmp_path_factory.mktemp("any"), Datasets(settings, database))


@examples(4)
@given(data=st.data())
def test_a_few_sets(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory, settings: Settings, database: Database
) -> None:
    check_round_trip(data, tmp_path_factory.mktemp("few"), Datasets(settings, database))


def check_round_trip(data: st.DataObject, place: Path, datasets: Datasets) -> None:
    """From a config to an export, to a set, to an export: each holds the same."""
    drawn = data.draw(st.lists(DATASETS_DRAWN, max_size=2))
    every = [subset for _, subsets in drawn for subset in subsets]
    if all(subset.is_reg for subset in every):
        drawn = [({"resolution": 256}, [DrawnSubset(("a",), (True, False, False), {}, 3, "", is_reg=False)])]
    config = made(place / "mine", drawn)
    whole = facts(of_config(config))
    first = write_export(planned_export(of_config(config)), place / "first.zip")
    record = datasets.create("Mine", [first])
    assert facts(of_set(record.path)) == whole
    second = place / "second.zip"
    datasets.export(record.id, second)
    with zipfile.ZipFile(second) as archive:
        archive.extractall(place / "second")
    assert facts(of_config(place / "second" / "dataset.toml")) == whole


CONFIG = """
[general]
shuffle_caption = true
[[datasets]]
resolution = 192
[[datasets.subsets]]
image_dir = "dogs"
num_repeats = 4
[[datasets.subsets]]
image_dir = "others"
is_reg = true
"""


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    for name, colour in zip(("dogs/a.png", "dogs/b.png", "others/r.png"), COLOURS, strict=False):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (48, 40), colour).save(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        for path in tmp_path.rglob("*.png"):
            file.write(path, path.relative_to(tmp_path))
        file.writestr("d.toml", CONFIG)
    return tmp_path / "x.zip"


def test_what_is_added_to_such_a_set_leaves_its_subsets(
    archive: Path, tmp_path: Path, settings: Settings, database: Database
) -> None:
    datasets = Datasets(settings, database)
    record = datasets.create("Dogs", [archive])
    datasets.edit(record.id, [RotatePicture("4_dogs/a.png", 90), SetCaption("4_dogs/a.png", "turned")])
    Image.new("RGB", (64, 64), "teal").save(tmp_path / "new.png")
    record = datasets.add(record.id, [tmp_path / "new.png"])
    assert (record.images, record.captions) == (3, 1)
    found = read_folder(of_set(record.path)).pictures
    assert [(one.caption, one.repeats, one.is_reg) for one in found] == [
        *(("turned", 4, False), ("", 4, False), ("dogs", 1, False), ("", 1, True)),
    ]
    assert [open_picture(one.path).size for one in found[:2]] == [(40, 48), (48, 40)]
    options = {"shuffle_caption": True, "resolution": 192, "resolution_height": None}
    assert options_of_set(record.path) == options
    assert [caption for _, caption in datasets.pictures(record.id)] == ["", "turned", ""]


def test_a_training_begins_with_what_the_config_says(archive: Path, studio: Studio) -> None:
    record = studio.datasets.create("Dogs", [archive])
    start = StartTraining(name="Dogs", kind="object", base="starter", dataset_id=record.id)
    data = studio.trainings.config(start).dataset
    assert (data.resolution, data.shuffle_caption, data.reg_data_dir) == (192, True, "")
    chosen = StartTraining(
        name="Dogs", kind="object", base="starter", dataset_id=record.id, overrides={"resolution": 64}
    )
    assert studio.trainings.config(chosen).dataset.resolution == 64
    assert (Path(record.path) / SUBSETS).is_file()
