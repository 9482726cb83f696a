from __future__ import annotations

import json
from pathlib import Path

import pytest

from lora_studio.config_groups import DatasetGroup
from lora_studio.data.training_set.folders import PictureFolder, read_folder
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
    assert found.notes == (
        "The trigger word zwx is put in front of the captions of 1 picture, like a.JPG, which lack it.",
    )


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


def test_regularisation_pictures_come_last_and_have_no_trigger(tmp_path: Path) -> None:
    touch(tmp_path / "mine" / "10_zwx dog", "a.png")
    touch(tmp_path / "others" / "2_dog", "z.png")
    (tmp_path / "others" / "2_dog" / "z.txt").write_text("a dog")
    found = read(
        tmp_path / "mine",
        reg_data_dir=str(tmp_path / "others"),
        prior_loss_weight=0.5,
        trigger_word="zwx",
        num_repeats=7,
    )
    assert [(p.path.name, p.caption, p.repeats, p.is_reg, p.weight) for p in found.pictures] == [
        ("a.png", "zwx dog", 10, False, 1.0),
        ("z.png", "a dog", 2, True, 0.5),
    ]
    assert [subset.name for subset in found.subsets] == ["10_zwx dog", "2_dog"]
    with pytest.raises(DatasetError, match="There is no folder"):
        read(tmp_path / "mine", reg_data_dir=str(tmp_path / "gone"))


def test_a_weight_without_regularisation_pictures_is_said(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    assert read(tmp_path, prior_loss_weight=0.5).notes == (
        "prior_loss_weight is ignored: there are no regularisation pictures.",
    )


def test_other_folders_beside_kohyas_are_said(tmp_path: Path) -> None:
    touch(tmp_path / "10_dog", "a.png")
    touch(tmp_path / "dogs", "b.png")
    touch(tmp_path / "empty")
    assert read(tmp_path).notes == (
        "The folder dogs is left out: its name doesn't begin with a number of repeats and _.",
    )


def test_masks_go_with_pictures_of_their_name(tmp_path: Path) -> None:
    touch(tmp_path / "pictures", "a.jpg", "b.png")
    touch(tmp_path / "masks", "a.png", "other.png")
    settings = {"masked_loss": True, "conditioning_data_dir": str(tmp_path / "masks")}
    found = read(tmp_path / "pictures", **settings)
    assert [p.mask for p in found.pictures] == [tmp_path / "masks" / "a.png", None]
    assert found.notes == ("1 picture without a mask, like b.png: all of it counts.",)
    touch(tmp_path / "none")
    with pytest.raises(DatasetError, match="No picture has a mask in none"):
        read(tmp_path / "pictures", masked_loss=True, conditioning_data_dir=str(tmp_path / "none"))


def test_a_trigger_in_the_prefix_is_enough(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    (tmp_path / "a.txt").write_text("a dog")
    assert read(tmp_path, trigger_word="zwx", caption_prefix="photo of zwx,").pictures[0].caption == "a dog"


def test_captions_from_one_json_file(tmp_path: Path) -> None:
    touch(tmp_path / "p", "a.png", "b.webp", "c.png")
    entries = {
        "b": {"tags": "cat, black"},
        str(tmp_path / "p" / "a.png"): {"caption": "a dog", "tags": "dog"},
        "gone": {"caption": "x"},
    }
    (tmp_path / "meta.json").write_text(json.dumps(entries))
    found = read(tmp_path / "p", in_json=str(tmp_path / "meta.json"), num_repeats=3)
    assert [(p.path.name, p.caption, p.repeats, p.folder) for p in found.pictures] == [
        ("a.png", "a dog, dog", 3, "meta.json"),
        ("b.webp", "cat, black", 3, "meta.json"),
    ]
    assert found.notes == ("meta.json names gone, which is not there: left out.",)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "can't be read as JSON"),
        ("[" * 100_000, "can't be read as JSON"),
        ("9" * 5000, "can't be read as JSON"),
        ("[]", "doesn't hold captions"),
        ('{"a": 1}', "hold"),
    ],
    ids=["a brace", "deep", "an endless number", "a list", "a number"],
)
def test_a_json_file_that_holds_something_else(tmp_path: Path, content: str, said: str) -> None:
    touch(tmp_path, "a.png")
    (tmp_path / "meta.json").write_text(content)
    with pytest.raises(DatasetError, match=said):
        read(tmp_path, in_json=str(tmp_path / "meta.json"))
