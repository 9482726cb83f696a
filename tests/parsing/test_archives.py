from __future__ import annotations

import os
import stat
import struct
import zipfile
import zlib
from pathlib import Path

import pytest

from lora_studio.errors import DatasetError
from lora_studio.parsing import archives
from lora_studio.parsing.archives import Limits, harmless_parts, is_archive, open_archive


def make(path: Path, files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def read(path: Path, limits: Limits | None = None) -> dict[str, bytes | str]:
    """Name to content, or to the sentence that says why there is none."""
    found: dict[str, bytes | str] = {}
    with open_archive(path, limits or Limits()) as members:
        for member in members:
            try:
                found["/".join(member.parts)] = member.read()
            except DatasetError as error:
                found["/".join(member.parts)] = error.message
    return found


def test_files_are_read_with_their_folders(tmp_path: Path) -> None:
    path = make(tmp_path / "a.zip", {"10_cat/a.png": b"one", "b.txt": b"two"})
    assert read(path) == {"10_cat/a.png": b"one", "b.txt": b"two"}


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("../../etc/passwd", ("etc", "passwd")),
        ("/etc/passwd", ("etc", "passwd")),
        ("C:\\Windows\\a.png", ("Windows", "a.png")),
        ("..\\..\\a.png", ("a.png",)),
        ("a/./b/.../c.png", ("a", "b", "c.png")),
        ("...", ()),
        ("", ()),
    ],
)
def test_names_cannot_lead_anywhere(name: str, parts: tuple[str, ...]) -> None:
    assert harmless_parts(name) == parts


def test_folders_and_links_are_no_files(tmp_path: Path) -> None:
    path = make(tmp_path / "a.zip", {"folder/": b"", "x/a.png": b"good"})
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("link.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    assert read(path) == {"x/a.png": b"good"}


def test_a_bomb_is_recognised_by_its_ratio(tmp_path: Path) -> None:
    path = make(tmp_path / "a.zip", {"bomb.png": bytes(5_000_000), "flat.bmp": bytes(900_000), "a.png": b"x"})
    found = read(path)
    assert "suspiciously tightly" in str(found["bomb.png"])
    assert found["flat.bmp"] == bytes(900_000)  # an even surface: small enough to do no harm
    assert found["a.png"] == b"x"


def test_unpacking_stops_at_the_limit_for_all_archives_together(tmp_path: Path) -> None:
    files = {f"{number}.png": os.urandom(10_000) for number in range(5)}
    path, limits = make(tmp_path / "a.zip", files), Limits(bytes_left=25_000)
    found = read(path, limits)
    assert [len(found[f"{number}.png"]) == 10_000 for number in range(5)] == [True, True, False, False, False]
    assert "too much" in str(found["4.png"])
    assert "too much" in str(read(path, limits)["0.png"])


def test_a_large_member_is_not_even_opened(tmp_path: Path) -> None:
    path = make(tmp_path / "a.zip", {"film.mp4": os.urandom(20_000)})
    limits = Limits(member_bytes=10_000)
    assert "larger than" in str(read(path, limits)["film.mp4"])
    assert limits.bytes_left == Limits().bytes_left


def test_a_member_that_lies_about_its_size_is_damaged(tmp_path: Path) -> None:
    """The index says 10 bytes, the stream holds two million."""
    body = zlib.compress(bytes(2_000_000), 9)[2:-4]
    path = make(tmp_path / "a.zip", {"a.png": b"0123456789"}, zipfile.ZIP_STORED)
    plain = path.read_bytes()
    head = struct.pack("<4s5H3I2H", b"PK\x03\x04", 20, 0, 8, 0, 0, 1, len(body), 10, 5, 0) + b"a.png"
    index = bytearray(plain[plain.index(b"PK\x01\x02") : plain.index(b"PK\x05\x06")])
    struct.pack_into("<H", index, 10, 8)
    struct.pack_into("<3I", index, 16, 1, len(body), 10)
    end = bytearray(plain[plain.index(b"PK\x05\x06") :])
    struct.pack_into("<I", end, 16, len(head) + len(body))
    path.write_bytes(head + body + bytes(index) + bytes(end))
    assert "damaged" in str(read(path)["a.png"])


def test_a_password_is_named(tmp_path: Path) -> None:
    path = make(tmp_path / "a.zip", {"a.png": b"x"})
    content = bytearray(path.read_bytes())
    content[6] |= 1  # the flag in the member's own head, and in the index
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"a\.zip is protected by a password"):
        read(path)


def test_unusual_packing_is_refused(tmp_path: Path) -> None:
    path = make(tmp_path / "a.zip", {"a.png": b"x" * 100}, zipfile.ZIP_BZIP2)
    assert "unusual way" in str(read(path)["a.png"])


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x05\x06", b"PK\x03\x04" + bytes(50)])
def test_what_is_no_archive_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"a\.zip is damaged or no ZIP"):
        read(path)


def test_an_archive_cut_off_or_changed_is_named(tmp_path: Path) -> None:
    path = make(tmp_path / "a.zip", {"a.png": os.urandom(1000)})
    whole = bytearray(path.read_bytes())
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match="damaged"):
        read(path)
    whole[500] ^= 0xFF
    path.write_bytes(whole)
    assert "a.zip: a.png is damaged" in str(read(path)["a.png"])


def test_too_many_members_are_refused_before_they_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(tmp_path / "a.zip", {f"{number}.png": b"x" for number in range(archives.MOST_ENTRIES + 1)})
    monkeypatch.setattr(zipfile, "ZipFile", None)  # would fail if it came that far
    with pytest.raises(DatasetError, match="more files than are read"):
        read(path)


def test_an_archive_is_told_by_its_content_or_its_name(tmp_path: Path) -> None:
    zipped = make(tmp_path / "pictures.png", {"a.png": b"x"})
    (tmp_path / "empty.zip").write_bytes(b"")
    (tmp_path / "glued.png").write_bytes(b"\x89PNG\r\n" + zipped.read_bytes())
    assert is_archive(zipped)
    assert is_archive(tmp_path / "empty.zip")
    assert not is_archive(tmp_path / "glued.png")
    assert not is_archive(tmp_path / "missing.zip")
