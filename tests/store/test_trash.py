from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Any

import pytest

from lora_studio.errors import StoreError
from lora_studio.store import trash as module
from lora_studio.store.trash import Trash


@pytest.fixture
def trash(tmp_path: Path) -> Trash:
    return Trash(tmp_path / "trash")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "lora" / "cat" / "previews").mkdir(parents=True)
    (tmp_path / "lora" / "cat" / "cat.safetensors").write_bytes(b"weights")
    (tmp_path / "lora" / "cat" / "previews" / "a.png").write_bytes(b"picture")
    return tmp_path / "lora" / "cat"


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_what_was_deleted_comes_back_whole(trash: Trash, folder: Path, tmp_path: Path) -> None:
    before = content(folder)
    token = trash.put("lora", "Cat", [folder])
    assert not folder.exists()
    entries = Trash(tmp_path / "trash").entries(("lora", "image"))
    assert [(entry.token, entry.kind, entry.title) for entry in entries] == [(token, "lora", "Cat")]
    assert trash.restore(token, ("lora",)) == [folder]
    assert content(folder) == before
    assert list((tmp_path / "trash").iterdir()) == []


@pytest.mark.parametrize("token", ["", "../lora", "0" * 32, "x" * 32])
def test_only_what_is_there_can_be_undone(trash: Trash, folder: Path, token: str) -> None:
    kept = trash.put("lora", "Cat", [folder])
    for wrong in (token, kept):
        with pytest.raises(StoreError, match="nothing to undo"):
            trash.restore(wrong, ("lora",) if wrong == token else ("image",))
    trash.restore(kept, ("lora",))
    with pytest.raises(StoreError, match="nothing to undo"):
        trash.restore(kept, ("lora",))


def test_nothing_is_written_over(trash: Trash, folder: Path) -> None:
    token = trash.put("lora", "Cat", [folder])
    folder.mkdir()
    (folder / "newer").write_text("mine")
    with pytest.raises(StoreError, match="cat is there again"):
        trash.restore(token, ("lora",))
    assert trash.restore(token, ("lora",), lambda path: path.with_name("cat-2")) == [
        folder.with_name("cat-2")
    ]
    assert content(folder) == {"newer": b"mine"}
    assert "cat.safetensors" in content(folder.with_name("cat-2"))


def test_a_deletion_that_fails_half_way_is_taken_back(trash: Trash, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="Cat can't be deleted"):
        trash.put("lora", "Cat", [folder, tmp_path / "missing.png"])
    assert (folder / "cat.safetensors").read_bytes() == b"weights"
    assert list((tmp_path / "trash").iterdir()) == []
    assert trash.entries(("lora",)) == []


def other_disk(source: Path, target: Path) -> Path:
    raise OSError(errno.EXDEV, "Invalid cross-device link")


def test_another_disk_is_no_obstacle(trash: Trash, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    single = folder.parent / "a.png"
    single.write_bytes(b"x")
    before = content(folder)
    monkeypatch.setattr(Path, "rename", other_disk)
    token = trash.put("lora", "Cat", [folder, single])
    assert not folder.exists()
    assert not single.exists()
    trash.restore(token, ("lora",))
    assert content(folder) == before
    assert single.read_bytes() == b"x"


def test_a_full_other_disk_loses_nothing(
    trash: Trash, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = shutil.copytree

    def run_full(source: Path, target: Path, *options: Any) -> None:
        whole(source, target, *options)
        if source == folder:
            raise shutil.Error([(str(source), str(target), "[Errno 28] No space left on device")])

    before = content(folder)
    monkeypatch.setattr(Path, "rename", other_disk)
    monkeypatch.setattr(module.shutil, "copytree", run_full)
    with pytest.raises(StoreError, match=r"Cat can't be deleted: \[Errno 28\] No space left on device\."):
        trash.put("lora", "Cat", [folder])
    assert content(folder) == before
    assert list((tmp_path / "trash").iterdir()) == []


def test_a_deletion_cut_short_can_be_undone(trash: Trash, folder: Path, tmp_path: Path) -> None:
    """The process died after the note was written and before the second file had moved."""
    single = tmp_path / "a.png"
    single.write_bytes(b"x")
    token = trash.put("image", "Pictures", [folder, single])
    (tmp_path / "trash" / token / "1-a.png").rename(single)
    assert trash.restore(token, ("image",)) == [folder, single]
    assert single.read_bytes() == b"x"
    assert folder.is_dir()


def test_odd_things_in_the_trash_are_passed_over(trash: Trash, tmp_path: Path) -> None:
    (tmp_path / "trash" / ("a" * 32)).mkdir(parents=True)
    (tmp_path / "trash" / ("b" * 32)).mkdir()
    (tmp_path / "trash" / ("b" * 32) / "deleted.json").write_text("{")
    assert trash.entries(("lora",)) == []
