"""Edited pictures and captions, as trainings, exports and the page see them; originals stay as they are."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from lora_studio.config_groups import DatasetGroup
from lora_studio.data.edits import rendering
from lora_studio.data.edits.edit_log import FILE, EditLog
from lora_studio.data.edits.overlay import apply_edits, overlaid
from lora_studio.data.edits.picture_edits import (
    CropPicture,
    Edit,
    FlattenPicture,
    FlipPicture,
    RemovePicture,
    RestorePicture,
    RotatePicture,
    SetCaption,
)
from lora_studio.data.edits.rendering import make_room_for_edited
from lora_studio.data.pixels.picture_pixels import mask_of, open_picture
from lora_studio.data.training_set.folders import Picture, read_folder
from lora_studio.errors import DatasetError, DiskFull
from lora_studio.settings import Settings
from tests.support.properties import examples

SIZE = (80, 48)
NAMES = ("a.jpg", "b.png", "c.webp")


def pattern(seed: int, size: tuple[int, int] = SIZE) -> Image.Image:
    """A picture without symmetry."""
    side = Image.linear_gradient("L").resize(size)
    return Image.merge("RGB", [side, side.rotate(90 * seed), ImageOps.mirror(side)])


def make_folder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for seed, name in enumerate(NAMES):
        pattern(seed).save(folder / name)
        (folder / name).with_suffix(".txt").write_text(f"picture {seed}\n", "utf-8")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "pictures")


def hashes(folder: Path) -> dict[str, str]:
    """Sums of all files but the log."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != FILE)
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def trained(folder: Path, **settings: Any) -> list[Picture]:
    return list(read_folder(DatasetGroup(train_data_dir=str(folder), **settings)).pictures)


def seen(folder: Path, **settings: Any) -> dict[str, tuple[str, bytes]]:
    """Captions and pixels of a training."""
    return {
        picture.path.stem: (picture.caption, open_picture(picture.path).tobytes())
        for picture in trained(folder, **settings)
    }


MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("flip"), st.sampled_from(NAMES), st.none()),
        st.tuples(st.just("rotate"), st.sampled_from(NAMES), st.sampled_from((90, 180, 270))),
        st.tuples(st.just("crop"), st.sampled_from(NAMES), st.tuples(*[st.integers(0, 7)] * 4)),
        st.tuples(st.just("caption"), st.sampled_from(NAMES), st.sampled_from(("", "one", "two, three"))),
        st.tuples(st.just("remove"), st.sampled_from(NAMES[1:]), st.none()),
        st.tuples(st.just("restore"), st.sampled_from(NAMES[1:]), st.none()),
        st.tuples(st.just("undo"), st.none(), st.none()),
        st.tuples(st.just("redo"), st.none(), st.none()),
    ),
    max_size=12,
)

State = dict[str, tuple[bool, str, Image.Image]]


def moved(state: State, move: str, name: str, value: Any) -> tuple[State, Edit] | None:
    """The state after an edit, made without the overlay; None where it is to be refused."""
    removed, caption, image = state[name]
    edit: Edit
    if removed and move != "restore":
        return None
    if move == "flip":
        edit, image = FlipPicture(name), image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    elif move == "rotate":
        edit, image = RotatePicture(name, value), image.rotate(-value, expand=True)
    elif move == "crop":
        left, top, right, bottom = value
        box = left, top, image.width - right, image.height - bottom
        edit = CropPicture(name, *box)
        if min(box[2] - box[0], box[3] - box[1]) < 32:
            return None
        image = image.crop(box)
    elif move == "caption":
        edit, caption = SetCaption(name, value), value
    else:
        edit, removed = (RemovePicture(name), True) if move == "remove" else (RestorePicture(name), False)
    return {**state, name: (removed, caption, image)}, edit


@examples(50)
@given(moves=MOVES)
def test_any_sequence_of_edits_and_undos_leaves_the_originals_and_gives_what_it_says(
    tmp_path_factory: pytest.TempPathFactory, moves: list[tuple[str, Any, Any]]
) -> None:
    folder = make_folder(tmp_path_factory.mktemp("edited") / "pictures")
    before, untouched, log = hashes(folder), seen(folder), EditLog(folder)
    states: list[State] = [
        {name: (False, f"picture {seed}", open_picture(folder / name)) for seed, name in enumerate(NAMES)}
    ]
    here = 0
    for move, name, value in moves:
        if move in ("undo", "redo"):
            step = -1 if move == "undo" else 1
            if 0 <= here + step < len(states):
                getattr(log, move)()
                here += step
            else:
                with pytest.raises(DatasetError):
                    getattr(log, move)()
            continue
        after = moved(states[here], move, name, value)
        if after is None:
            continue
        apply_edits(folder, [after[1]])
        states = [*states[: here + 1], after[0]]
        here += 1
    expected = {
        Path(name).stem: (caption, image.tobytes())
        for name, (removed, caption, image) in states[here].items()
        if not removed
    }
    assert seen(folder) == expected
    assert hashes(folder) == before
    while log.read().undoable:
        log.undo()
    assert seen(folder) == untouched
    assert {picture.path.parent for picture in trained(folder)} == {folder}


def test_edits_are_applied_all_or_none(folder: Path) -> None:
    for wrong, words in (
        (FlipPicture("gone.png"), "There is no picture gone.png"),
        (CropPicture("a.jpg", 0, 0, 81, 48), "doesn't lie inside of it"),
        (CropPicture("a.jpg", 40, 0, 40, 48), "doesn't lie inside of it"),
        (CropPicture("a.jpg", 0, 0, 31, 48), "Too little of a.jpg"),
    ):
        with pytest.raises(DatasetError, match=words):
            apply_edits(folder, [FlipPicture("a.jpg"), wrong])
    with pytest.raises(DatasetError, match="nothing to change"):
        apply_edits(folder, [])
    with pytest.raises(DatasetError, match=r"There is no picture b\.png"):
        apply_edits(folder, [RemovePicture("b.png"), FlipPicture("b.png")])
    assert not (folder / FILE).exists()
    apply_edits(folder, [RotatePicture("a.jpg", 90), CropPicture("a.jpg", 0, 40, 48, 80)])
    assert open_picture(trained(folder)[0].path).size == (48, 40)


def test_a_version_is_trained_on_as_it_was(folder: Path) -> None:
    before = seen(folder)
    apply_edits(folder, [RemovePicture("b.png"), SetCaption("a.jpg", "edited")])
    EditLog(folder).name_version("first")
    apply_edits(folder, [RemovePicture("c.webp")])
    assert set(seen(folder)) == {"a"}
    assert set(seen(folder, dataset_version="first")) == {"a", "c"}
    assert seen(folder, dataset_version="originals") == before
    with pytest.raises(DatasetError, match="There is no version 'second'"):
        trained(folder, dataset_version="second")


def test_a_training_says_what_is_edited(folder: Path) -> None:
    apply_edits(folder, [SetCaption("b.png", "x"), RemovePicture("a.jpg")])
    with (folder / FILE).open("a") as file:
        file.write("nonsense\n")
    found = read_folder(DatasetGroup(train_data_dir=str(folder)))
    assert found.is_edited
    assert found.notes == (
        "2 pictures of pictures edited, like a.jpg: see edits.jsonl.",
        "1 line of edits.jsonl in pictures can't be read: left out.",
    )


def test_masks_and_transparency_are_edited_with_the_picture(folder: Path) -> None:
    clear, opacity = pattern(1), Image.linear_gradient("L").resize(SIZE)
    opacity.paste(0, (0, 0, 80, 16))
    clear.putalpha(opacity)
    clear.save(folder / "b.png")
    (folder / "masks").mkdir()
    Image.linear_gradient("L").resize((160, 96)).save(folder / "masks" / "b.png")
    plain, alpha = open_picture(folder / "b.png"), mask_of(folder / "b.png", None)
    assert alpha is not None
    apply_edits(folder, [RotatePicture("b.png", 180), CropPicture("b.png", 8, 0, 80, 40)])
    box = (8, 0, 80, 40)
    shown = next(picture for picture in trained(folder, masked_loss=True) if picture.path.stem == "b")
    assert open_picture(shown.path).tobytes() == plain.rotate(180).crop(box).tobytes()
    mask, kept = mask_of(shown.path, shown.mask), mask_of(shown.path, None)
    assert mask is not None
    assert mask.size == (72, 40)
    assert (
        mask.tobytes()
        == Image.linear_gradient("L").resize((160, 96)).resize(SIZE).rotate(180).crop(box).tobytes()
    )
    assert kept is not None
    assert kept.tobytes() == alpha.rotate(180).crop(box).tobytes()
    apply_edits(folder, [FlattenPicture("b.png", "#102030")])
    shown = next(picture for picture in trained(folder, alpha_mask=True) if picture.path.stem == "b")
    assert mask_of(shown.path, None) is None
    assert open_picture(shown.path).getpixel((71, 39)) == (0x10, 0x20, 0x30)


def test_edits_of_kohya_folders_lie_above_them(tmp_path: Path) -> None:
    root = tmp_path / "set"
    make_folder(root / "3_dog")
    make_folder(root / "2_cat")
    apply_edits(root, [RemovePicture("3_dog/a.jpg"), SetCaption("2_cat/a.jpg", "cat")])
    found = {(picture.folder, picture.path.stem): picture.caption for picture in trained(root)}
    assert ("3_dog", "a") not in found
    assert (found["2_cat", "a"], found["3_dog", "b"], len(found)) == ("cat", "picture 1", 5)


def test_a_name_alone_holds_for_a_picture_that_went_into_a_folder(folder: Path) -> None:
    apply_edits(folder, [SetCaption("a.jpg", "edited")])
    (folder / "4_dog").mkdir()
    for path in list(folder.glob("?.*")):
        path.rename(folder / "4_dog" / path.name)
    apply_edits(folder, [RemovePicture("4_dog/b.png")])
    assert {picture.path.stem: picture.caption for picture in trained(folder)} == {
        "a": "edited", "c": "picture 2",
    }  # fmt: skip


def test_small_edited_pictures_are_skipped_by_their_size_now(folder: Path) -> None:
    config = folder.parent / "d.toml"
    config.write_text(
        f'[[datasets]]\nresolution=64\nskip_image_resolution=60\n[[datasets.subsets]]\nimage_dir="{folder}"\n'
    )
    apply_edits(folder, [CropPicture("a.jpg", 0, 0, 40, 48)])
    (folder / "d.png").write_bytes(b"damaged")
    data = DatasetGroup(train_data_dir="-", dataset_config=str(config), dataset_version="unknown here")
    found = read_folder(data)
    assert [picture.path.stem for picture in found.pictures] == ["b", "c", "d"]  # d stops at its decoding
    assert "dataset_version is ignored: dataset_config names the pictures." in found.notes


def test_an_edited_picture_that_cant_be_made_is_left_out(folder: Path) -> None:
    EditLog(folder).append([CropPicture("a.jpg", 0, 0, 500, 500)])
    found = read_folder(DatasetGroup(train_data_dir=str(folder)))
    assert [picture.path.stem for picture in found.pictures] == ["b", "c"]
    assert "The crop of a.jpg doesn't lie inside of it. It is left out." in found.notes


def test_edited_files_follow_from_content(folder: Path, settings: Settings) -> None:
    def path() -> Path:
        return overlaid(folder, settings.edited).files(folder / "b.png").picture

    apply_edits(folder, [FlipPicture("b.png")])
    first = path()
    assert first.is_relative_to(settings.edited)
    assert first.name == "b.png"
    written = first.stat().st_mtime_ns
    assert (path(), first.stat().st_mtime_ns) == (first, written)
    pattern(3).save(folder / "b.png")
    assert path() != first
    first.unlink()
    apply_edits(folder, [FlipPicture("b.png")])
    assert open_picture(path()).tobytes() == pattern(3).tobytes()


def test_what_a_training_just_got_stays_whatever_room_it_takes(
    folder: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(make_room_for_edited, "__defaults__", (1,))
    apply_edits(folder, [FlipPicture(name) for name in NAMES])
    files = [picture.path for picture in trained(folder)]
    apply_edits(folder, [RotatePicture("a.jpg", 180)])
    newer = trained(folder)[0].path
    assert all(path.is_file() for path in (*files, newer))
    month_ago = time.time() - 30 * 24 * 3600
    for path in (*files, newer):
        os.utime(path.parent, (month_ago, month_ago))
    written = files[1].stat().st_mtime_ns
    files_again = overlaid(folder, settings.edited).files(folder / "b.png")  # as the page does
    assert (files_again.picture, files[1].stat().st_mtime_ns) == (files[1], written)
    assert [picture.path for picture in trained(folder)] == [newer, files[1], files[2]]
    assert [path.is_file() for path in (*files, newer)] == [False, True, True, True]


@pytest.mark.parametrize("length", [0, 200])
def test_what_a_power_cut_left_of_an_edited_picture_is_made_again(folder: Path, length: int) -> None:
    apply_edits(folder, [FlipPicture("a.jpg")])
    path = trained(folder)[0].path
    whole = path.read_bytes()
    path.write_bytes(whole[:length])
    assert trained(folder)[0].path.read_bytes() == whole


def test_edited_captions_have_lines_as_files_have_them(folder: Path) -> None:
    apply_edits(folder, [SetCaption("a.jpg", "one\n\n two "), SetCaption("b.png", " \n")])
    found = read_folder(DatasetGroup(train_data_dir=str(folder)))
    assert [picture.caption for picture in found.pictures] == ["one", "", "picture 2"]
    said = "1 picture with an edited caption of several lines, like a.jpg: only the first line is used."
    assert said in found.notes
    wild = read_folder(DatasetGroup(train_data_dir=str(folder), enable_wildcard=True))
    assert [picture.caption for picture in wild.pictures] == ["one\ntwo", "", "picture 2"]
    assert said not in wild.notes


def test_an_original_is_hashed_once(
    folder: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply_edits(folder, [FlipPicture("b.png")])
    overlay = overlaid(folder, settings.edited)
    first = overlay.files(folder / "b.png")
    monkeypatch.setattr(rendering, "sha256", lambda path: pytest.fail("read again"))
    assert overlay.files(folder / "b.png") == first


def test_a_full_disk_ends_a_training_and_leaves_no_picture_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply_edits(folder, [FlipPicture("b.png")])
    monkeypatch.setenv("LORA_STUDIO_KEEP_FREE_GB", "900000")
    with pytest.raises(DiskFull, match=r"The edited b\.png can't be stored"):
        trained(folder)
