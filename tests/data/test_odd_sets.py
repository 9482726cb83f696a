"""Sets of pictures as other programs and systems leave them, through the upload and as a folder."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy
import pytest
from PIL import Image

from lora_studio.config_groups import DatasetGroup
from lora_studio.data.ingestion.ingest import Ingested, ingest
from lora_studio.data.training_set.folders import PictureFolder, read_folder
from tests.support.uploaded_sets import file_of

COLOURS = ("red", "green", "blue", "orange", "purple", "cyan")
Files = dict[str, bytes]


def picture(colour: str, size: tuple[int, int] = (128, 128), kind: str = "PNG") -> bytes:
    noise = numpy.random.default_rng(sum(colour.encode())).integers(0, 60, (size[1], size[0], 3), numpy.uint8)
    return file_of(Image.blend(Image.fromarray(noise), Image.new("RGB", size, colour), 0.7), kind)


BASE: Files = {f"{colour}.png": picture(colour) for colour in COLOURS}
THUMBNAILS: Files = {
    f"@eaDir/{colour}.png/SYNOPHOTO_THUMB_XL.jpg": picture(colour, (60, 60), "JPEG") for colour in COLOURS
}


def packed(folder: Path, files: Files) -> Path:
    with zipfile.ZipFile(folder / "set.zip", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return folder / "set.zip"


def laid_out(folder: Path, files: Files) -> Path:
    for name, content in files.items():
        path = folder / "given" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder / "given"


def taken(folder: Path, files: Files) -> tuple[Ingested, Path]:
    into = folder / "set"
    into.mkdir()
    return ingest([packed(folder, files)], into), into


def read(folder: Path, **changes: object) -> PictureFolder:
    return read_folder(DatasetGroup.model_validate({"train_data_dir": str(folder), **changes}))


def captions_in(folder: Path) -> dict[str, str]:
    return {path.stem: path.read_text("utf-8").strip() for path in sorted(folder.rglob("*.txt"))}


def test_thumbnails_and_trash_are_no_pictures(tmp_path: Path) -> None:
    files = BASE | THUMBNAILS
    files |= {"$RECYCLE.BIN/old.jpg": picture("pink", kind="JPEG"), ".DS_Store": b"x", "Thumbs.db": b"x"}
    files |= {f"{folder}/x.png": picture("pink") for folder in (
        *("#recycle", ".thumbnails", ".Trash-1000/files", "__MACOSX", "lost+found", ".ipynb_checkpoints"),
    )}  # fmt: skip
    made, into = taken(tmp_path, files)
    assert (made.images, made.refused) == (6, ())
    said = [line for line in made.warnings if "passed over" in line]
    assert len(said) == 1
    assert said[0].startswith("15 files")
    assert "@eaDir" in said[0]
    assert [one.path.stem for one in read(into).pictures] == sorted(COLOURS)
    folder = laid_out(tmp_path, files)
    assert [one.path.stem for one in read(folder).pictures] == sorted(COLOURS)
    kohya = laid_out(tmp_path / "kohya", {f"10_thing/{name}": content for name, content in files.items()})
    assert [one.path.stem for one in read(kohya).pictures] == sorted(COLOURS)


def test_what_a_folder_of_systems_holds_is_passed_over_where_it_is_named_by_its_files(tmp_path: Path) -> None:
    """As the command line hands them in: the files of the folder and of those below it."""
    folder = laid_out(tmp_path, BASE | {"$RECYCLE.BIN/old.png": picture("pink"), "masks/red.png": GREY})
    (tmp_path / "set").mkdir()
    made = ingest(sorted(path for path in folder.rglob("*") if path.is_file()), tmp_path / "set")
    assert made.images == 6
    assert (tmp_path / "set" / "red-masklabel.png").is_file()


GREY = file_of(Image.new("L", (128, 128), 255))


@pytest.mark.parametrize("name", ["{}-masklabel.png", "{}_mask.png", "masks/{}.png", "mask/{}.png"])
def test_masks_become_masks(tmp_path: Path, name: str) -> None:
    half = Image.new("L", (128, 128))
    half.paste(255, (0, 0, 64, 128))
    files = BASE | {name.format(colour): file_of(half) for colour in COLOURS[:3]}
    files |= {"red-condlabel.png": picture("pink")}
    made, into = taken(tmp_path, files)
    assert (made.images, made.refused) == (6, ())
    assert any(line.startswith("3 masks") for line in made.warnings)
    assert any("1 picture for models that draw after another" in line for line in made.warnings)
    for folder in (into, laid_out(tmp_path, files)):
        found = read(folder, masked_loss=True)
        masks = {one.path.stem: one.mask for one in found.pictures}
        assert len(masks) == 6
        assert {stem for stem, mask in masks.items() if mask} == set(COLOURS[:3])
        for mask in masks.values():
            assert mask is None or Image.open(mask).convert("L").getpixel((10, 10)) == 255
        without = read(folder)
        assert [one.mask for one in without.pictures] == [None] * 6
        assert any("masked_loss is off" in note for note in without.notes)


def test_a_picture_called_mask_is_a_picture(tmp_path: Path) -> None:
    """In colour, or beside no picture that it could belong to."""
    files = BASE | {"red_mask.png": picture("red", (64, 64)), "venice_mask.png": GREY}
    made, into = taken(tmp_path, files)
    assert made.images == 8
    assert not list(into.glob("*-masklabel.png"))
    assert len(read(laid_out(tmp_path, files)).pictures) == 8


def test_a_mask_of_no_picture_and_one_of_another_shape_are_refused(tmp_path: Path) -> None:
    wide = file_of(Image.new("L", (128, 64), 255))
    made, _ = taken(tmp_path, BASE | {"pink-masklabel.png": GREY, "red-masklabel.png": wide})
    assert made.images == 6
    assert ["no picture" in made.refused[0], "another shape" in made.refused[1]] == [True, True]


def test_captions_in_other_encodings_are_read_and_shown(tmp_path: Path) -> None:
    files = BASE | {
        "red.txt": "rot café".encode("cp1252"), "green.txt": "grün".encode("utf-16"),
        "blue.txt": "\ufeffblau".encode(), "orange.txt": "オレンジ".encode("cp932"),
        "purple.txt": b"a\r\nb", "cyan.txt": b" \r\n",
    }  # fmt: skip
    expected = {"red": "rot café", "green": "grün", "blue": "blau", "orange": "オレンジ", "purple": "a\nb"}
    made, into = taken(tmp_path, files)
    assert (made.images, made.captions, made.refused) == (6, 5, ())
    assert captions_in(into) == expected
    said = [line for line in made.warnings if "not in UTF-8" in line]
    assert len(said) == 1
    assert "“オレンジ” in Shift-JIS" in said[0]
    found = read(laid_out(tmp_path, files), enable_wildcard=True)
    assert {one.path.stem: one.caption for one in found.pictures} == expected | {"cyan": ""}
    assert any("“rot café” in Windows-1252" in note for note in found.notes)


def test_an_encoding_that_is_not_certain_is_shown_in_several_ways(tmp_path: Path) -> None:
    from lora_studio.errors import DatasetError

    files = BASE | {"red.txt": "красный кот".encode("cp1251")}
    made, into = taken(tmp_path, files)
    assert captions_in(into) == {"red": "красный кот"}
    assert any("“красный кот” in Windows-1251; it could be" in line for line in made.warnings)
    with pytest.raises(DatasetError, match=r"red\.txt") as caught:
        read(laid_out(tmp_path, files))
    assert "“красный кот” in Windows-1251" in caught.value.hint


def rows(pairs: dict[str, str], file: str, text: str) -> str:
    return "".join(json.dumps({file: name, text: caption}) + "\n" for name, caption in pairs.items())


PAIRS = {f"{colour}.png": f"a {colour}, square" for colour in COLOURS}
TABLES = {
    "metadata.jsonl": rows(PAIRS, "file_name", "text"),
    "metadata.csv": "file_name,text\n" + "".join(f'{name},"{text}"\n' for name, text in PAIRS.items()),
    "captions.csv": "".join(f'{name},"{text}"\r\n' for name, text in PAIRS.items()),
    "captions.json": json.dumps(PAIRS),
    "meta_cap.json": json.dumps({name[:-4]: {"caption": text} for name, text in PAIRS.items()}),
}


@pytest.mark.parametrize("table", TABLES)
def test_tables_of_captions_are_read(tmp_path: Path, table: str) -> None:
    files = BASE | {table: TABLES[table].encode()}
    expected = {name[:-4]: text for name, text in PAIRS.items()}
    made, into = taken(tmp_path, files)
    assert (made.images, made.captions, made.refused) == (6, 6, ())
    assert captions_in(into) == expected
    found = read(laid_out(tmp_path, files))
    assert {one.path.stem: one.caption for one in found.pictures} == expected


def test_a_table_may_stand_above_its_pictures_and_name_some_that_are_not_there(tmp_path: Path) -> None:
    table = rows({"train/red.png": "one", "train/gone.png": "two"}, "file_name", "text")
    files = {f"data/train/{name}": content for name, content in BASE.items()}
    made, into = taken(tmp_path, files | {"data/metadata.jsonl": table.encode()})
    assert captions_in(into) == {"red": "one"}
    assert made.refused == ("set.zip: data/metadata.jsonl names 1 picture (gone.png) that are not there.",)


def test_of_several_captions_the_one_in_a_text_file_is_used(tmp_path: Path) -> None:
    files = BASE | {
        "red.txt": b"text", "red.caption": b"caption", "red.png.txt": b"double", "blue.png.txt": b"double",
        "green.caption": b"caption", "metadata.jsonl": TABLES["metadata.jsonl"].encode(),
    }  # fmt: skip
    expected = {"red": "text", "blue": "double", "green": "caption", "orange": "a orange, square",
                "purple": "a purple, square", "cyan": "a cyan, square"}  # fmt: skip
    made, into = taken(tmp_path, files)
    assert captions_in(into) == expected
    assert any("metadata.jsonl: not used for 3 pictures" in line for line in made.warnings)
    found = read(laid_out(tmp_path, files))
    assert {one.path.stem: one.caption for one in found.pictures} == expected


def test_a_table_that_is_none_is_named(tmp_path: Path) -> None:
    files = BASE | {"captions.json": b"[1, 2", "notes.csv": b"one\ntwo", "deep.jsonl": b"[" * 100_000}
    made, _ = taken(tmp_path, files)
    assert made.images == 6
    assert [line for line in made.refused if "is no table of captions" in line] == list(made.refused)
    assert len(made.refused) == 3


def test_one_caption_for_pictures_of_one_name_and_kind(tmp_path: Path) -> None:
    files = BASE | {"a.png": picture("teal"), "a.jpg": picture("gold", kind="JPEG"), "a.txt": b"caption of a"}
    made, into = taken(tmp_path, files)
    assert made.images == 8
    assert captions_in(into) == {"a": "caption of a", "a-2": "caption of a"}


def test_the_same_names_in_two_folders_keep_their_captions(tmp_path: Path) -> None:
    files = {f"{folder}/{number}.png": picture(colour) for folder, colours in
             (("a", COLOURS[:3]), ("b", COLOURS[3:])) for number, colour in enumerate(colours)}  # fmt: skip
    made, into = taken(tmp_path, files | {"a/0.txt": b"in a", "b/0.txt": b"in b"})
    assert (made.images, made.captions) == (6, 2)
    assert captions_in(into) == {"0": "in a", "0-2": "in b"}


def test_odd_names_become_those_that_every_system_can_keep(tmp_path: Path) -> None:
    names = ["\U0001f408 cat.png", "CON.png", " lead.png", "dots..png", "x" * 200 + ".png", "c\u0301.png"]
    made, into = taken(tmp_path, {name: picture(colour) for name, colour in zip(names, COLOURS, strict=True)})
    assert made.images == 6
    assert {path.name for path in into.iterdir()} == {
        *("\U0001f408 cat.png", "_CON.png", "lead.png", "dots.png", "x" * 60 + ".png", "\u0107.png")
    }


def test_caches_of_other_trainings_are_one_line(tmp_path: Path) -> None:
    files = {f"10_sks thing/{name}": content for name, content in BASE.items()}
    files |= {f"10_sks thing/{colour}.npz": b"PK\x03\x04junk" for colour in COLOURS}
    made, into = taken(tmp_path, files)
    assert (made.images, made.refused) == (6, ())
    assert [line for line in made.warnings if line.startswith("6 caches of other trainings passed over")]
    assert {one.repeats for one in read(into).pictures} == {10}
    assert len(read(laid_out(tmp_path, files)).pictures) == 6


def test_a_log_of_edits_is_no_table_of_captions(tmp_path: Path) -> None:
    files = BASE | {"edits.jsonl": b'{"file_name": "a.png", "text": "a dog"}\n'}
    made, into = taken(tmp_path, files)
    assert "1 list of edits passed over, like" in " ".join(made.warnings)
    assert (made.images, made.refused, (into / "edits.jsonl").exists()) == (6, (), False)


def test_panoramas_and_slivers_are_said_with_what_is_lost(tmp_path: Path) -> None:
    files = BASE | {"wide.png": picture("pink", (1600, 64)), "high.png": picture("pink", (50, 800))}
    files |= {"tiny.png": picture("teal", (40, 40))}
    made, _ = taken(tmp_path, files)
    odd = next(line for line in made.warnings if "longer than wide" in line)
    assert "wide.png, 1600 × 64, loses 84%" in odd
    assert "high.png, 50 × 800, loses 75%" in odd
    assert any("tiny.png, 40 × 40" in line and "enlarges" in line for line in made.warnings)


def test_odd_pictures_are_used_or_named(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x112] = 6
    files: Files = {
        "cmyk.jpg": file_of(Image.open(io.BytesIO(picture("red"))).convert("CMYK"), "JPEG"),
        "grey16.png": file_of(Image.new("I;16", (128, 128), 40000)),
        "exif6.jpg": file_of(Image.new("RGB", (256, 128), "red"), "JPEG", exif=exif),
        "animated.webp": file_of(Image.new("RGB", (64, 64), "red"), "WEBP", save_all=True,
                                 append_images=[Image.new("RGB", (64, 64), "blue")]),
        "animated.gif": file_of(Image.new("RGB", (64, 64), "teal"), "GIF", save_all=True,
                                append_images=[Image.new("RGB", (64, 64), "blue")]),
        "still.avif": picture("green", kind="AVIF"), "scan.tif": picture("gold", kind="TIFF"),
        "photo.jxl": b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(64),
        "truncated.jpg": picture("red", (512, 512), "JPEG")[:6000],
    }  # fmt: skip
    made, into = taken(tmp_path, files)
    assert made.images == 7
    assert Image.open(into / "exif6.png").convert("RGB").size == (128, 256)
    assert Image.open(into / "grey16.png").getpixel((5, 5)) == (156, 156, 156)
    assert any("2 pictures (set.zip: animated.webp, set.zip: animated.gif)" in said for said in made.warnings)
    assert ["JPEG XL" in made.refused[0], "damaged" in made.refused[1]] == [True, True]
