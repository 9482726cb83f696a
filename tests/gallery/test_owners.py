"""Whose things are when their files are moved, removed and replaced by hand."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import pytest

from lora_studio.access.roles import Role
from lora_studio.access.visitor import Kind, Visitor, acting
from lora_studio.errors import StoreError
from lora_studio.gallery import Gallery
from lora_studio.settings import Settings
from lora_studio.store.database import Database
from lora_studio.store.job_store import JobStore
from lora_studio.store.library import Library
from lora_studio.store.people.ownership import Owners
from tests.support.api_caller import write_lora
from tests.support.configs import named_config
from tests.support.library_entries import draw


@pytest.fixture
def owners(database: Database) -> Owners:
    return Owners(database)


@pytest.fixture
def ada(owners: Owners) -> Visitor:
    return Visitor(name="ada", role=Role.TRAINER, kept=owners)


@pytest.fixture
def hers(gallery: Gallery, ada: Visitor, tmp_path: Path) -> str:
    """The slug of a LoRA that Ada has brought."""
    with acting(ada):
        return gallery.import_lora(write_lora(tmp_path / "dragon.safetensors")).slug


@pytest.fixture
def dropped(tmp_path: Path) -> Path:
    """Another LoRA, in a folder of the same name, that the admin puts into the library by hand."""
    folder = tmp_path / "by hand" / "dragon"
    folder.mkdir(parents=True)
    write_lora(folder / "dragon.safetensors", value=0.5)
    return folder


def test_a_lora_that_takes_over_a_name_is_not_its_former_owners(
    gallery: Gallery, owners: Owners, ada: Visitor, hers: str, dropped: Path, settings: Settings
) -> None:
    assert owners.owners(Kind.LORA, hers) == ["ada"]
    shutil.rmtree(settings.loras / hers)
    gallery.scan()
    shutil.copytree(dropped, settings.loras / hers)
    gallery.scan()
    assert gallery.lora(hers)
    assert owners.owners(Kind.LORA, hers) == []
    with acting(ada), pytest.raises(StoreError):
        gallery.lora(hers)


def test_nor_is_one_that_was_put_there_while_nobody_looked(
    gallery: Gallery, owners: Owners, hers: str, dropped: Path, settings: Settings
) -> None:
    shutil.rmtree(settings.loras / hers)
    shutil.copytree(dropped, settings.loras / hers)
    gallery.scan()
    assert owners.owners(Kind.LORA, hers) == []


def test_a_library_that_was_away_for_a_while_is_whose_it_was(
    gallery: Gallery, owners: Owners, hers: str, settings: Settings, tmp_path: Path
) -> None:
    """As on a disk that was not there at the start."""
    settings.loras.rename(tmp_path / "away")
    gallery.scan()
    assert gallery.loras() == []
    shutil.rmtree(settings.loras)
    (tmp_path / "away").rename(settings.loras)
    gallery.scan()
    assert owners.owners(Kind.LORA, hers) == ["ada"]


def test_what_a_training_makes_is_its_owners_whatever_was_there_before(
    gallery: Gallery, owners: Owners, ada: Visitor, dropped: Path, database: Database, settings: Settings
) -> None:
    """Also after a Resume that trains it further."""
    jobs = JobStore(database)
    with acting(ada):
        job = jobs.create(named_config("dragon", 5, settings.datasets, settings.loras))
    shutil.copytree(dropped, settings.loras / "dragon")
    gallery.scan()
    write_lora(settings.loras / "dragon" / "dragon.safetensors", value=0.7)
    gallery.scan()
    assert owners.owners(Kind.LORA, job.slug) == ["ada"]


def test_a_deleted_lora_comes_back_to_its_owner(gallery: Gallery, ada: Visitor, hers: str) -> None:
    with acting(ada):
        gallery.undo(gallery.delete_lora(hers))
        assert gallery.lora(hers)


def test_a_moved_home_takes_the_owners_of_its_pictures_along(
    gallery: Gallery, settings: Settings, database: Database, ada: Visitor, tmp_path: Path
) -> None:
    with acting(ada):
        gallery.add_image(draw(settings, "a cat", 7))
    database.close()
    settings.home.rename(tmp_path / "elsewhere")
    moved = Settings(home=tmp_path / "elsewhere", models=settings.models)
    with closing(Database(moved.database)) as again:
        there = Gallery(moved, Library(again))
        there.scan()
        for name, prompts in (("ada", ["a cat"]), ("bob", [])):
            with acting(Visitor(name=name, role=Role.TRAINER, kept=Owners(again))):
                assert [record.prompt for record in there.images()] == prompts
