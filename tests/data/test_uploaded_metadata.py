"""Uploads whose dataset config names a file with the captions: each picture gets its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lora_studio.data.caption_tables import read_table
from lora_studio.data.ingestion import subset_claims
from lora_studio.data.ingestion.ingest import Ingested, ingest
from lora_studio.data.training_set.folders import Picture
from tests.support.uploaded_sets import Files, png, trained_on, zipped

COLOURED = {"fox": "red", "fox.v1": "blue", "dog": "green"}


def with_metadata(*folders: str) -> str:
    subset = "[[datasets.subsets]]\nimage_dir = {!r}\nmetadata_file = '/x/meta.json'\n"
    return "[[datasets]]\n" + "".join(map(subset.format, folders))


def taken_in(folder: Path, files: Files) -> tuple[Ingested, list[Picture]]:
    into = folder / "set"
    into.mkdir()
    made = ingest([zipped(folder / "x.zip", files)], into)
    return made, trained_on(into)


@pytest.mark.parametrize(
    ("folders", "entries"),
    [
        (("/x/dogs", "/x/cats"), {"/x/dogs/1.png": "a dog", "/x/cats/1.png": "a cat"}),
        (("/x/cats", "/x/dogs"), {"/x/cats/1.png": "a cat", "/x/dogs/1.png": "a dog"}),
        (("dogs", "cats"), {"dogs/1": "a dog", "C:\\x\\cats\\1": "a cat", "/x/birds/1.png": "a bird"}),
        (("/a/dogs", "/x/cats"), {"/a/dogs/1.png": "a dog", "/b/dogs/1.png": "wrong", "cats/1.png": "a cat"}),
    ],
    ids=["dogs first", "cats first", "several forms", "another folder of that name"],
)
def test_one_metadata_file_for_pictures_of_the_same_name(
    tmp_path: Path, folders: tuple[str, str], entries: dict[str, str]
) -> None:
    meta = json.dumps({name: {"caption": text} for name, text in entries.items()})
    pictures: Files = {"dogs/1.png": png("red"), "cats/1.png": png("blue")}
    files: Files = {"meta.json": meta, "d.toml": with_metadata(*folders), **pictures}
    assert {one.path.parent.name: one.caption for one in taken_in(tmp_path, files)[1]} == {
        "1_dogs": "a dog",
        "1_cats": "a cat",
    }


@pytest.mark.parametrize("meta", ['{"a/1.png": {"caption": "an a"}}', "no table"])
def test_a_metadata_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meta: str) -> None:
    """It may have 20 MB, and 200 subsets may name it."""
    asked: list[str] = []

    def read_and_count(name: str, content: bytes) -> object:
        asked.append(name)
        return read_table(name, content)

    monkeypatch.setattr(subset_claims, "read_table", read_and_count)
    pictures: Files = {f"{folder}/1.png": None for folder in "abc"}
    taken_in(tmp_path, {"meta.json": meta, "d.toml": with_metadata(*"abc"), **pictures})
    assert asked == ["meta.json"]


def test_what_a_name_has_behind_its_last_dot_may_be_no_ending(tmp_path: Path) -> None:
    entries = {"fox": "a fox", "fox.v1": "an older fox", "dog.v1": "an older dog"}
    meta = json.dumps({name: {"caption": text} for name, text in entries.items()})
    pictures: Files = {f"foxes/{name}.png": png(colour) for name, colour in COLOURED.items()}
    files: Files = {"meta.json": meta, "d.toml": with_metadata("foxes"), **pictures}
    assert {one.path.stem: one.caption for one in taken_in(tmp_path, files)[1]} == {
        "fox": "a fox",
        "fox.v1": "an older fox",
    }


def test_pictures_are_no_captions(tmp_path: Path) -> None:
    config = "[[datasets]]\n[[datasets.subsets]]\nimage_dir = 'foxes'\ncaption_extension = 'PNG'\n"
    files: Files = {"d.toml": config, "foxes/1.png": None, "foxes/1.txt": "a fox"}
    made, pictures = taken_in(tmp_path, files)
    assert [one.caption for one in pictures] == ["a fox"]
    assert any("caption_extension '.png' is that of pictures: left out." in one for one in made.refused)


@pytest.mark.parametrize(
    ("other", "is_said"),
    [("", True), ("caption_extension = '.txt'", False), ("caption_extension = '.caption'", True)],
)
def test_a_folder_of_two_datasets_has_the_captions_of_the_first(
    tmp_path: Path, other: str, is_said: bool
) -> None:
    subset = "[[datasets]]\nresolution = {}\n[[datasets.subsets]]\nimage_dir = 'foxes'\n{}\n"
    config = subset.format(512, "caption_extension = 'txt'") + subset.format(768, other)
    files: Files = {"d.toml": config, "foxes/1.png": None, "foxes/1.txt": "a fox", "foxes/1.caption": "fox"}
    made, pictures = taken_in(tmp_path, files)
    assert [one.caption for one in pictures] == ["a fox", "a fox"]
    assert any("are those of the dataset that has it first." in one for one in made.refused) == is_said
