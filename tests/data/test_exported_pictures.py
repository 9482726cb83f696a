"""Pictures and masks of an export: sd-scripts sees what a training sees, and nothing ends its run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageChops

from lora_studio.config_groups import DatasetGroup
from lora_studio.data.pixels.picture_pixels import open_picture
from lora_studio.data.training_set.dataset_export import CONFIG, ExportedSet, planned_export
from lora_studio.data.training_set.exported_pictures import portable_stem
from lora_studio.data.training_set.write_export import write_export
from lora_studio.errors import DatasetError
from lora_studio.parsing.file_names import is_portable
from lora_studio.settings import Settings
from tests.support import sd_scripts_rules as theirs
from tests.support.wide_colours import WIDE

TURNED = 6


@pytest.fixture
def folder(tmp_path: Path, settings: Settings) -> Path:
    folder = tmp_path / "1_dog"
    folder.mkdir()
    return folder


def exported(folder: Path, **options: object) -> tuple[ExportedSet, Path]:
    data = DatasetGroup(train_data_dir=str(folder.parent), **options)  # type: ignore[arg-type]
    export = planned_export(data)
    return export, write_export(export, folder.parent / "out")


def half_transparent(path: Path) -> None:
    image = Image.new("RGBA", (40, 48), (255, 0, 0, 0))
    image.paste((10, 20, 30, 255), (0, 0, 40, 20))
    image.paste((200, 20, 30, 128), (0, 20, 20, 30))
    image.save(path.with_suffix(".png"))


def turned(path: Path) -> None:
    image = Image.linear_gradient("L").resize((60, 40)).convert("RGB")
    exif = image.getexif()
    exif[0x0112] = TURNED
    image.save(path.with_suffix(".jpg"), exif=exif)


def deep(path: Path) -> None:
    Image.new("I;16", (40, 48), 30_000).save(path.with_suffix(".png"))


def wide(path: Path) -> None:
    Image.new("RGB", (40, 48), (200, 30, 40)).save(path.with_suffix(".jpg"), icc_profile=WIDE)


def called_otherwise(path: Path) -> None:
    Image.new("RGB", (40, 48), "green").save(path.with_suffix(".tif"))
    path.with_suffix(".tif").rename(path.with_suffix(".png"))


@pytest.mark.parametrize("write", [half_transparent, turned, deep, wide, called_otherwise])
def test_sd_scripts_sees_what_a_training_sees(write: Callable[[Path], None], folder: Path) -> None:
    write(folder / "a")
    (given,) = folder.iterdir()
    _, out = exported(folder)
    (copy,) = (out / "1_dog").iterdir()
    assert copy.suffix == ".png"
    seen = theirs.pixels(copy)
    here = open_picture(given)
    assert seen.size == here.size
    extrema = ImageChops.difference(seen, here).getextrema()
    assert max(high for _, high in extrema) <= 1  # type: ignore[misc]  # half transparent parts are rounded


def test_a_picture_that_is_seen_the_same_is_copied_as_it_is(folder: Path) -> None:
    Image.new("RGBA", (40, 48), "red").save(folder / "opaque.png")
    Image.new("L", (40, 48), 70).save(folder / "grey.jpg")
    Image.new("P", (40, 48), 3).save(folder / "palette.webp")
    _, out = exported(folder)
    for path in folder.iterdir():
        assert (out / "1_dog" / path.name).read_bytes() == path.read_bytes()


def test_transparency_stays_where_it_weighs(folder: Path) -> None:
    half_transparent(folder / "a")
    _, out = exported(folder, alpha_mask=True)
    with Image.open(out / "1_dog" / "a.png") as image:
        assert image.mode == "RGBA"


def small(path: Path) -> None:
    Image.new("L", (20, 24), 128).save(path.with_suffix(".png"))


def gif(path: Path) -> None:
    Image.new("L", (40, 48), 128).save(path.with_suffix(".gif"))


def turned_mask(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = TURNED
    Image.new("L", (48, 40), 128).save(path.with_suffix(".png"), exif=exif)


@pytest.mark.parametrize("write", [small, gif, turned_mask])
def test_a_mask_has_the_size_of_its_picture(write: Callable[[Path], None], folder: Path) -> None:
    Image.new("RGB", (40, 48), "red").save(folder / "a.png")
    turned(folder / "b")
    write(folder / "a-masklabel")
    _, out = exported(folder)
    assert [one.name for one in theirs.pictures({"dataset_config": str(out / CONFIG)})] == ["a.png", "b.png"]
    with Image.open(out / "1_dog" / "masks" / "a.png") as mask:
        assert mask.getextrema() == (128, 128)


def cut_off(path: Path) -> None:
    Image.effect_noise((60, 60), 80).save(path)
    path.write_bytes(path.read_bytes()[:900])


@pytest.mark.parametrize("spoil", [lambda path: path.write_bytes(b"no picture"), cut_off])
@pytest.mark.parametrize("masked", [False, True])
def test_what_a_training_leaves_out_is_left_out_and_said(
    spoil: Callable[[Path], object], folder: Path, *, masked: bool
) -> None:
    Image.new("RGB", (40, 48), "red").save(folder / "a.png")
    spoil(folder / "b.png")
    if masked:
        Image.new("L", (40, 48), 128).save(folder / "a-masklabel.png")
    export, out = exported(folder)
    assert export.pictures == 1
    assert [note for note in export.notes if note.startswith("b.png is ") and note.endswith("left out.")]
    assert [one.name for one in theirs.pictures({"dataset_config": str(out / CONFIG)})] == ["a.png"]


def test_a_mask_of_another_shape_is_left_out_with_its_picture(folder: Path) -> None:
    Image.new("RGB", (40, 48), "red").save(folder / "a.png")
    Image.new("RGB", (40, 48), "red").save(folder / "b.png")
    Image.new("L", (40, 20), 128).save(folder / "a-masklabel.png")
    export, out = exported(folder)
    assert [one.name for one in theirs.pictures({"dataset_config": str(out / CONFIG)})] == ["b.png"]
    assert "another shape than its picture. It is left out." in " ".join(export.notes)


def test_a_set_without_a_picture_that_opens_is_refused(folder: Path) -> None:
    (folder / "a.png").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match="None of the pictures can be read"):
        exported(folder)
    assert not (folder.parent / "out").exists()


@pytest.mark.parametrize(
    "stem", ["con", "a:b", "q?", "end ", "x\ny", "..\\..\\evil", "\udcff", "\u202egnp", "x" * 250]
)
def test_names_of_pictures_can_be_unpacked_everywhere(stem: str) -> None:
    made = portable_stem(stem)
    assert made.isprintable()
    assert is_portable(made)
    assert is_portable(f"{made}-2.jpeg")


def test_a_name_that_every_system_keeps_stays() -> None:
    long = "1girl, " * 15 + "_12_34_56_78"
    assert [portable_stem(stem) for stem in (long, "猫 (2)", ".a.b")] == [long, "猫 (2)", ".a.b"]
