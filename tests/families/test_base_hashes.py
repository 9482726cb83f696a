from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pytest

from lora_studio.families.base_files import base_hashes as fingerprint
from lora_studio.families.base_files.base_hashes import FILE, base_hashes, base_hashes_beside
from lora_studio.families.base_files.found_base import FoundBase
from lora_studio.files import sha256
from lora_studio.settings import Settings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "base.safetensors").write_bytes(bytes(range(256)) * 6000)
    return tmp_path / "base.safetensors"


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were read whole."""
    found: list[Path] = []
    monkeypatch.setattr(fingerprint, "sha256", lambda path: found.append(path) or sha256(path))
    return found


def hashes(file: Path, layout: str = "file") -> dict[str, str]:
    return base_hashes(found(file, layout))


def found(file: Path, layout: str = "file") -> FoundBase:
    return FoundBase(name="x", path_or_id=str(file), family="", layout=layout)  # type: ignore[arg-type]


def test_the_hashes_are_kohyas(file: Path) -> None:
    content = file.read_bytes()
    assert hashes(file) == {
        "ss_new_sd_model_hash": hashlib.sha256(content).hexdigest(),
        "ss_sd_model_hash": hashlib.sha256(content[0x100000:0x110000]).hexdigest()[:8],
    }
    assert hashes(file, "folder") == hashes(file, "hub") == {}


def test_a_file_is_read_once_for_each_state_of_it(file: Path, readings: list[Path]) -> None:
    first = hashes(file)
    assert hashes(file) == first
    assert len(readings) == 1
    facts = file.stat()
    file.write_bytes(file.read_bytes()[::-1])
    os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns + 1))
    assert hashes(file) != first
    assert len(readings) == 2


def test_a_damaged_or_lost_memory_begins_anew(file: Path, readings: list[Path]) -> None:
    first = hashes(file)
    memory = Settings.from_environment().cache / FILE
    for content in ("{", "[1]", '{"a": 1}'):
        memory.write_text(content)
        assert hashes(file) == first
    memory.unlink()
    assert hashes(file) == first
    assert len(readings) == 5


def test_a_cache_that_cannot_be_written_is_no_error(file: Path) -> None:
    cache = Settings.from_environment().cache
    cache.parent.mkdir(parents=True)
    cache.write_text("a file in the folder's place")
    assert hashes(file)["ss_sd_model_hash"]


def test_hashes_that_are_worked_out_beside_other_work_let_it_go_on(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = threading.Event()
    monkeypatch.setattr(fingerprint, "sha256", lambda path: asked.wait(60) and sha256(path))
    working = base_hashes_beside(found(file))
    assert not working.done()
    asked.set()
    assert working.result(timeout=60) == hashes(file)


def test_a_file_that_is_gone_is_said_to_whoever_asks_for_its_hashes(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        base_hashes_beside(found(tmp_path / "gone.safetensors")).result(timeout=60)


def test_who_asks_again_gets_the_same_answer_until_the_file_changes(file: Path, readings: list[Path]) -> None:
    first = base_hashes_beside(found(file))
    assert base_hashes_beside(found(file)) is first
    hashes_before = first.result(timeout=60)
    file.write_bytes(b"other" * 300_000)
    assert base_hashes_beside(found(file)).result(timeout=60) != hashes_before
    assert len(readings) == 2


def test_a_hash_that_failed_is_tried_again(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(path: Path) -> str:
        raise OSError("gone")

    with monkeypatch.context() as patched:
        patched.setattr(fingerprint, "sha256", gone)
        with pytest.raises(OSError, match="gone"):
            base_hashes_beside(found(file)).result(timeout=60)
    assert base_hashes_beside(found(file)).result(timeout=60) == hashes(file)
