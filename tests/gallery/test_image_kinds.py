"""Pictures kept apart: sheets of grids from pictures, and those that somebody likes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lora_studio.access.roles import Role
from lora_studio.access.visitor import Visitor, acting
from lora_studio.errors import NotAllowed, StoreError
from lora_studio.gallery import Gallery
from lora_studio.images.favourite_images import is_favourite, mark_image
from lora_studio.settings import Settings
from lora_studio.store.database import Database
from lora_studio.store.library import FAVOURITE, PICTURES, SHEETS
from tests.support.library_entries import draw


@pytest.fixture
def pictures(gallery: Gallery, settings: Settings) -> list[str]:
    """The ids of two pictures and of a sheet, whose file is called as sheets are."""
    drawn = [draw(settings, "a kind of cat", seed) for seed in (1, 2, 3)]
    sheet = Path(drawn[2].path)
    shutil.move(sheet, sheet.with_name("101112-grid-0123abcd.png"))
    gallery.scan()
    found = {record.seed: record.id for record in gallery.images()}
    return [found[seed] for seed in (1, 2, 3)]


def test_sheets_of_grids_stand_apart(gallery: Gallery, pictures: list[str]) -> None:
    assert {one.id for one in gallery.images()} == set(pictures)
    assert {one.id for one in gallery.images(only=PICTURES)} == set(pictures[:2])
    assert [one.id for one in gallery.images(only=SHEETS)] == [pictures[2]]
    assert gallery.count_images("kind", PICTURES) == 2
    assert gallery.count_images("nothing", SHEETS) == 0
    assert gallery.images(only="'; --") == []


def test_a_favourite_outlives_a_new_reading(
    gallery: Gallery, database: Database, settings: Settings, pictures: list[str]
) -> None:
    before = database.revisions()["images"]
    mark_image(database, pictures[0], True)
    assert database.revisions()["images"] > before
    database.change("DELETE FROM images")
    gallery.scan()
    assert [one.id for one in gallery.images(only=FAVOURITE)] == [pictures[0]]
    assert is_favourite(database, pictures[0])
    mark_image(database, pictures[0], False)
    assert gallery.count_images(only=FAVOURITE) == 0


def test_only_own_pictures_that_are_here_are_marked(database: Database, pictures: list[str]) -> None:
    with pytest.raises(StoreError):
        mark_image(database, "0" * 64, True)
    with acting(Visitor(name="eve", role=Role.VIEWER)), pytest.raises((NotAllowed, StoreError)):
        mark_image(database, pictures[0], True)
    assert not is_favourite(database, pictures[0])
