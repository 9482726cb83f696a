from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from lora_studio.data.latent_files import LatentFiles

MOMENTS = torch.randn(4, 8, 8), torch.rand(4, 8, 8)


@pytest.fixture
def files(tmp_path: Path) -> LatentFiles:
    return LatentFiles(folder=tmp_path / "latents", encoder="vae")


def test_what_is_written_is_read_to_the_bit(files: LatentFiles) -> None:
    path = files.path_of("content", (64, 64))
    assert files.read(path) is None
    files.write(path, MOMENTS)
    found = files.read(path)
    assert found is not None
    assert all(torch.equal(one, other) for one, other in zip(found, MOMENTS, strict=True))
    assert files.damaged == []
    assert [left.name for left in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("damage", ["cut off", "one bit", "empty", "other"])
def test_a_damaged_file_is_noticed(files: LatentFiles, damage: str) -> None:
    path = files.path_of("content")
    files.write(path, MOMENTS)
    content = bytearray(path.read_bytes())
    if damage == "one bit":
        content[-5] ^= 1
    kept = {"cut off": content[:-9], "one bit": content, "empty": b"", "other": b"a\nb"}[damage]
    path.write_bytes(bytes(kept))
    assert files.read(path) is None
    assert files.damaged == [path.name]


def test_a_folder_that_cannot_be_written_is_told_and_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    files = LatentFiles(folder=tmp_path / "file", encoder="vae")
    files.write(files.path_of("x"), MOMENTS)
    files.write(files.path_of("y"), MOMENTS)
    assert files.problem == "Not a directory"


def test_room_is_made_by_what_was_not_used_for_longest(files: LatentFiles) -> None:
    paths = [files.path_of(number) for number in range(4)]
    for age, path in enumerate(paths):
        files.write(path, MOMENTS)
        os.utime(path, (1000 + age, 1000 + age))
    assert files.read(paths[0]) is not None
    files.make_room(most_bytes=2 * paths[0].stat().st_size)
    assert [path.exists() for path in paths] == [True, False, False, True]
    files.make_room()
    assert sum(path.exists() for path in paths) == 2
