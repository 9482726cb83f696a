"""A home folder's id is made once, whoever asks."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lora_studio.errors import StoreError
from lora_studio.store.machine_id import NAME, machine_id


def test_it_stays(tmp_path: Path) -> None:
    first = machine_id(tmp_path)
    assert uuid.UUID(first)
    assert machine_id(tmp_path) == first
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_all_who_ask_at_once_get_the_same(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(lambda _: machine_id(tmp_path), range(64)))) == 1


def test_a_damaged_one_is_told_of_and_not_replaced(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text("no id")
    with pytest.raises(StoreError, match="can't be read"):
        machine_id(tmp_path)
    assert (tmp_path / NAME).read_text() == "no id"
