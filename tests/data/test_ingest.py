from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lora_studio.catalog import ADVISED_PICTURES
from lora_studio.config_groups import DatasetGroup
from lora_studio.data.ingestion import ingest as module
from lora_studio.data.ingestion.ingest import Ingested, ingest
from lora_studio.data.training_set.folders import read_folder
from lora_studio.errors import DatasetError
from lora_studio.events import Event, PhaseAdvanced

EACH = {"a": (250, 10, 10), "b": (10, 250, 10), "c": (10, 10, 250), "d": (90, 90, 10), "e": (10, 90, 90)}


def content_of(name: str, kind: str = "PNG") -> bytes:
    """A picture that differs for names that begin with another letter of EACH."""
    image, buffer = Image.new("RGB", (64, 64), EACH.get(name[0].lower(), (1, 2, 3))), io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def upload(folder: Path, files: dict[str, bytes | str | None]) -> list[Path]:
    """Write files; None stands for a picture made for the name."""
    paths = []
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            content = content_of(path.name, "JPEG" if path.suffix.lower() == ".jpg" else "PNG")
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        paths.append(path)
    return paths


def zipped(path: Path, files: dict[str, bytes | str | None]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content_of(Path(name).name) if content is None else content)
    return path


@pytest.fixture
def into(tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    folder.mkdir()
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_pictures_become_png_and_captions_stay_beside_them(tmp_path: Path, into: Path) -> None:
    files = upload(
        tmp_path / "up",
        {"a.png": None, "b.jpg": None, "b.txt": "a red cat\n", "A Ü.png": None, "A Ü.caption": "größe"},
    )
    before = {path: path.read_bytes() for path in files}
    made = ingest(files, into)
    assert names(into) == ["A Ü.png", "A Ü.txt", "a.png", "b.png", "b.txt"]
    assert (into / "A Ü.txt").read_text("utf-8") == "größe\n"
    assert (made.images, made.captions, made.refused) == (3, 2, ())
    assert {path: path.read_bytes() for path in files} == before
    with Image.open(into / "b.png") as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (64, 64))


def test_files_that_a_browser_put_into_folders_of_their_own_still_belong_together(
    tmp_path: Path, into: Path
) -> None:
    files = upload(tmp_path, {"x1/a.png": None, "x2/a.txt": "first", "x3/b.png": None, "x4/B.TXT": "second"})
    assert ingest(files, into).captions == 2
    assert (into / "b.txt").read_text() == "second\n"


def test_files_of_one_name_are_numbered_with_their_own_captions(tmp_path: Path, into: Path) -> None:
    files = upload(
        tmp_path, {"x/a.png": None, "x/a.txt": "one", "y/A.png": None, "y/A.txt": "two", "y/a.jpg": None}
    )
    ingest(files, into)
    assert names(into) == ["A-2.png", "A-2.txt", "a-3.png", "a-3.txt", "a.png", "a.txt"]
    assert [(into / f"{name}.txt").read_text().strip() for name in ("a", "A-2", "a-3")] == [
        "one",
        "two",
        "two",
    ]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../evil.png", "evil.png"),
        ("..\\..\\evil.png", "evil.png"),
        ("/etc/evil.png", "evil.png"),
        ("a:b*c?.png", "a_b_c_.png"),
        ("con.png", "_con.png"),
        ("x" * 300 + ".png", "x" * 60 + ".png"),
        ("tab\tnew.png", "tabnew.png"),
        ("dots . .png", "dots.png"),
        ("кот 猫.png", "кот 猫.png"),
    ],
)
def test_names_from_a_zip_are_made_harmless(tmp_path: Path, into: Path, given: str, kept: str) -> None:
    ingest([zipped(tmp_path / "set.zip", {given: None})], into)
    assert names(into) == [kept]
    assert names(tmp_path) == sorted(["set.zip", f"set/{kept}"])


def test_a_zip_keeps_captions_of_the_same_folder(tmp_path: Path, into: Path) -> None:
    archive = zipped(
        tmp_path / "set.zip",
        {"x/a.png": None, "y/a.png": None, "x/a.txt": "of x", "y/a.txt": "of y", "c.png": None},
    )
    made = ingest([archive], into)
    assert {path: (into / path).read_text() for path in names(into) if path.endswith(".txt")} == {
        "a.txt": "of x\n", "a-2.txt": "of y\n",
    }  # fmt: skip
    assert (made.images, made.captions) == (3, 2)


def test_kohyas_folders_are_kept_as_training_reads_them(tmp_path: Path, into: Path) -> None:
    archive = zipped(
        tmp_path / "set.zip",
        {
            "img/10_red cat/a.png": None,
            "img/10_red cat/a.txt": "cap",
            "img/2_dog/a.png": None,
            "2024_holiday/c.png": None,
        },
    )
    made = ingest([archive], into)
    assert names(into) == ["10_red cat/a.png", "10_red cat/a.txt", "1_red cat/c.png", "2_dog/a-2.png"]
    assert made.captions == 1
    assert any("1 picture outside" in sentence for sentence in made.warnings)
    pictures = read_folder(DatasetGroup(train_data_dir=str(into))).pictures
    assert sorted((picture.repeats, picture.caption) for picture in pictures) == [
        (1, "red cat"), (2, "dog"), (10, "cap"),
    ]  # fmt: skip


def test_a_plain_zip_is_read_as_a_plain_folder(tmp_path: Path, into: Path) -> None:
    ingest([zipped(tmp_path / "set.zip", {"2024_holiday/a.png": None, "best/b.png": None})], into)
    assert len(read_folder(DatasetGroup(train_data_dir=str(into))).pictures) == 2


def test_each_refusal_names_the_file_and_the_reason(tmp_path: Path, into: Path) -> None:
    jpeg = content_of("a", "JPEG")
    files = upload(
        tmp_path / "up",
        {
            "good.png": None,
            "notes.png": "just text",
            "cut.jpg": jpeg[: len(jpeg) * 2 // 3],
            "empty.png": "",
            "good.txt": "grün".encode("latin-1"),
            "lonely.txt": "about nothing",
            "broken.zip": "no archive",
        },
    )
    inner = zipped(tmp_path / "inner.zip", {"a.png": None}).read_bytes()
    files += [zipped(tmp_path / "up" / "set.zip", {"deep/inner.zip": inner, "deep/text.png": "x"})]
    files += [tmp_path / "up" / "missing.png", tmp_path / "up"]
    made = ingest(files, into)
    assert (made.images, made.captions) == (1, 1)
    expected = [
        "notes.png is not a picture.",
        "cut.jpg is damaged or cut off.",
        "empty.png is empty.",
        "broken.zip is damaged or no ZIP archive.",
        "set.zip: deep/inner.zip is a ZIP archive inside another one.",
        "set.zip: deep/text.png is not a picture.",
        "missing.png can't be read: No such file or directory.",
        "up can't be read: Is a directory.",
        "lonely.txt belongs to no picture",
    ]
    assert len(made.refused) == len(expected)
    for sentence, start in zip(made.refused, expected, strict=True):
        assert sentence.startswith(start)


def test_nothing_usable_says_why(tmp_path: Path, into: Path) -> None:
    with pytest.raises(DatasetError, match=r"There are no pictures\."):
        ingest([], into)
    with pytest.raises(DatasetError, match=r"no usable picture\. notes\.png is not a picture") as caught:
        ingest(upload(tmp_path, {"notes.png": "text"}), into)
    assert "at least one" in caught.value.hint
    with pytest.raises(DatasetError, match=r"And 3 more\."):
        ingest(upload(tmp_path, {f"{number}.png": "text" for number in range(8)}), into)
    assert names(into) == []


def test_one_picture_is_enough_but_few(tmp_path: Path, into: Path) -> None:
    made = ingest(upload(tmp_path, {"a.png": None}), into)
    assert made.images == 1
    assert made.warnings == (f"1 picture only: {ADVISED_PICTURES} different ones teach more.",)


def test_five_different_pictures_need_no_remark(tmp_path: Path, into: Path) -> None:
    assert ingest(upload(tmp_path, {f"{name}.png": None for name in EACH}), into).warnings == ()


def test_remarks_on_what_was_changed_or_is_double(tmp_path: Path, into: Path) -> None:
    clear, buffer = Image.new("RGBA", (64, 64), (255, 0, 0, 0)), io.BytesIO()
    clear.save(buffer, "PNG")
    files: dict[str, Any] = {f"{name}.png": None for name in EACH} | {"again.png": content_of("a", "BMP")}
    files |= {"clear.png": buffer.getvalue(), "a.txt": "kept", "a.caption": "second"}
    made = ingest(upload(tmp_path, files), into)
    assert made.images == 7
    assert sorted(made.warnings) == [
        "1 picture (again.png is a.png) there twice, which makes them count for more.",
        "1 picture (clear.png) with transparent parts: they are white now.",
        "a.caption was left out: its picture has a caption from a.txt.",
    ]
    assert (into / "a.txt").read_text() == "kept\n"


def test_a_set_has_a_largest_size_and_captions_after_it_still_count(
    tmp_path: Path, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_PICTURES", 2)
    archive = zipped(
        tmp_path / "set.zip", {"a.png": None, "b.png": None, "c.png": None, "a.txt": "x", "b.txt": "y"}
    )
    made = ingest([archive, *upload(tmp_path, {"d.png": None})], into)
    assert (made.images, made.captions) == (2, 2)
    assert made.refused == ("2 pictures left out: a set holds at most 2.",)


def test_the_result_counts_what_lies_there(tmp_path: Path, into: Path) -> None:
    made: Ingested = ingest([zipped(tmp_path / "s.zip", {f"{i}.png": None for i in "abcde"})], into)
    assert made.images == len(names(into)) == 5


def test_small_files_of_very_many_pixels_are_left_out(
    tmp_path: Path, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One picture many times, as in an archive that unpacks to a thousand times its size."""
    monkeypatch.setattr("lora_studio.data.pixels.sanitize.FREE_PIXELS", 1_200_000)
    buffer = io.BytesIO()
    Image.new("RGB", (1000, 1000), "red").save(buffer, "PNG")
    archive = zipped(tmp_path / "a.zip", {f"{number}.png": buffer.getvalue() for number in range(4)})
    made = ingest([archive], into)
    assert (made.images, len(names(into))) == (1, 1)
    assert len(made.refused) == 3
    assert all("more pixels than such small files" in line for line in made.refused)


def test_reading_says_how_far_it_is_and_can_be_stopped(into: Path, tmp_path: Path) -> None:
    files, told = upload(tmp_path / "up", {f"{name}.png": None for name in "abcd"}), list[Event]()

    def counts() -> list[tuple[int, int]]:
        return [(event.done, event.total) for event in told if isinstance(event, PhaseAdvanced)]

    ingest(files, into, told.append)
    assert counts() == [(1, 4), (2, 4), (3, 4), (4, 4)]
    told.clear()
    for name in ("zip", "stopped"):
        (tmp_path / name).mkdir()
    ingest([zipped(tmp_path / "set.zip", {"a.png": None, "b.png": None})], tmp_path / "zip", told.append)
    assert counts() == [(1, 0), (2, 0)]
    told.clear()
    with pytest.raises(DatasetError, match="nothing of it is kept"):
        ingest(files, tmp_path / "stopped", told.append, lambda: len(told) == 2)
    assert len(told) == 2
