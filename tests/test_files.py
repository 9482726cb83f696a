"""Files of our own: whole or not at all, and one sentence when the disk refuses."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
from pathlib import Path

import pytest

from lora_studio.errors import BrokenFile, DiskFull, StoreError
from lora_studio.files import (
    copy_atomically,
    creating,
    disk_errors,
    expanded,
    read_errors,
    reason,
    remove_unfinished,
    replace_file,
    replacing,
    sha256,
    write_atomically,
)
from lora_studio.settings import CHECKOUT


def test_a_failed_write_leaves_the_old_file_and_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "deep" / "a.json"
    write_atomically(path, "old")
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode, "the process's umask decides"

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"new")
    assert path.read_text() == "old"
    assert [file.name for file in path.parent.iterdir()] == ["a.json"]


def test_a_copy_replaces_its_target_or_leaves_it(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "deep" / "b"
    source.write_bytes(b"new")
    copy_atomically(source, target)
    assert target.read_bytes() == b"new"
    with pytest.raises(FileNotFoundError):
        copy_atomically(tmp_path / "none", target)
    assert target.read_bytes() == b"new"
    assert [file.name for file in target.parent.iterdir()] == ["b"]


def test_what_is_written_can_be_read_before_it_takes_its_place(tmp_path: Path) -> None:
    path = tmp_path / "state"
    with replacing(path) as file:
        file.write(b"head rest")
        file.seek(5)
        assert file.read() == b"rest"
        assert not path.exists()
    assert path.read_bytes() == b"head rest"


def test_hashes_begin_where_they_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"head" + bytes(3_000_000))
    assert sha256(path) == hashlib.sha256(b"head" + bytes(3_000_000)).hexdigest()
    assert sha256(path, 4) == hashlib.sha256(bytes(3_000_000)).hexdigest()


def test_a_want_of_room_is_known_from_other_refusals() -> None:
    with pytest.raises(DiskFull), disk_errors("The pictures", "stored"):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(StoreError) as raised, disk_errors("The pictures", "stored"):
        raise OSError(errno.EACCES, "Permission denied")
    assert not isinstance(raised.value, DiskFull)


def test_the_disk_refuses_in_a_sentence(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, "No space left on device", str(tmp_path))
    with pytest.raises(StoreError) as caught, disk_errors("The pictures", "stored"):
        raise full
    assert caught.value.message == "The pictures can't be stored: No space left on device."
    assert "LORA_STUDIO_HOME" in caught.value.hint
    with pytest.raises(DiskFull, match="Wait"), disk_errors("It", "kept", "Wait.", DiskFull):
        raise full
    gone = tmp_path / "gone.bin"
    refusal = pytest.raises(BrokenFile, match=r"gone\.bin can't be read: No such file")
    with refusal as broken, read_errors(gone, BrokenFile):
        gone.read_bytes()
    assert broken.value.path == str(gone)
    assert reason(shutil.Error([("a", "b", "why")])) == "why"
    assert reason(OSError("said so")) == "said so"


def in_use(number: int) -> PermissionError:
    """The error that Windows gives for a file that somebody has open."""
    error = PermissionError(errno.EACCES, "Access is denied")
    error.winerror = number  # type: ignore[misc, attr-defined, unused-ignore]
    return error


def test_a_file_that_somebody_reads_on_windows_is_replaced_a_moment_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("old")
    new.write_text("new")
    answers = [in_use(32), in_use(5)]
    replace = os.replace

    def windows(source: Path, target: Path) -> None:
        if answers:
            raise answers.pop()
        replace(source, target)

    monkeypatch.setattr("os.replace", windows)
    replace_file(new, old)
    assert old.read_text() == "new"
    assert not new.exists()


def test_a_file_that_stays_open_or_is_not_ours_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def refuse(number: int) -> None:
        def windows(source: Path, target: Path) -> None:
            asked.append(number)
            raise in_use(number) if number else PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr("os.replace", windows)

    monkeypatch.setattr("lora_studio.files.REPLACE_PAUSES", (0.0, 0.0))
    refuse(32)
    with pytest.raises(PermissionError):
        write_atomically(tmp_path / "a", "x")
    assert len(asked) == 3
    assert not list(tmp_path.iterdir()), "nothing is left behind"
    refuse(0)
    with pytest.raises(PermissionError):
        replace_file(tmp_path / "a", tmp_path / "b")
    assert len(asked) == 4, "somebody else's file is not tried again"


def test_what_a_killed_process_had_begun_is_removed(tmp_path: Path) -> None:
    kept = [tmp_path / name for name in ("a.tmp", ".a.tmp", "a.0123456789ab.tmp", ".a.0123456789ab")]
    begun = [
        tmp_path / "state" / ".state-00000006.pt.2941670b59bc.tmp",
        tmp_path / ".a\n.png.0123456789ab.tmp",
    ]
    for path in (*kept, *begun):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    remove_unfinished(tmp_path)
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == {*kept}


def test_a_home_of_nobody_is_a_place_that_is_not_there() -> None:
    """Python's own function for it raises an error that nobody expects of a path."""
    assert expanded("~") == Path.home()
    assert expanded("~nobody-is-called-so/x") == Path("~nobody-is-called-so/x")
    sources = {path: path.read_text("utf-8") for path in (CHECKOUT / "lora_studio").rglob("*.py")}
    callers = {path.name for path, text in sources.items() if re.search(r"(?<!os\.path)\.expanduser\(", text)}
    assert callers == {"files.py", "settings.py"}, "Use files.expanded."


def test_a_new_file_never_takes_the_place_of_one_that_is_there(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.txt"
    with creating(target) as unfinished:
        unfinished.write_text("first")
        assert not target.exists()
    with pytest.raises(FileExistsError), creating(target) as unfinished:
        unfinished.write_text("second")
    with contextlib.suppress(RuntimeError), creating(tmp_path / "b.txt") as unfinished:
        unfinished.write_text("half")
        raise RuntimeError
    assert target.read_text() == "first"
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["a.txt"]


def test_a_disk_without_hard_links_has_new_files_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    for words in ("first", "second"):
        with contextlib.suppress(FileExistsError), creating(tmp_path / "a.txt") as unfinished:
            unfinished.write_text(words)
    assert (tmp_path / "a.txt").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
