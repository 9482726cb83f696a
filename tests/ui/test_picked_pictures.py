"""Several pictures at once: what a browser may ask for, the ZIP, and whose they are."""

from __future__ import annotations

import asyncio
import zipfile
from pathlib import Path
from typing import Any

import pytest
from gradio.helpers import EventData
from gradio.state_holder import SessionState

from lora_studio.access.roles import Role
from lora_studio.access.visitor import Kind, Visitor, acting
from lora_studio.errors import StoreError, StudioError
from lora_studio.records import ImageRecord
from lora_studio.store.people.ownership import Owners
from lora_studio.studio import Studio
from lora_studio.ui.blocks import build
from lora_studio.ui.client_input.upload_owners import sees_upload
from lora_studio.ui.gallery.picked_pictures import MOST_PICKED, delete_all, packed, picked_ids
from tests.support.library_entries import draw


@pytest.fixture
def kept(studio: Studio) -> Owners:
    return Owners(studio.database)


def drawn(studio: Studio, seed: int) -> ImageRecord:
    return studio.gallery.add_image(draw(studio.settings, f"picked {seed}", seed))


@pytest.mark.parametrize("given", [None, [], "x", [7], ["../x"], ["a" * 64] * (MOST_PICKED + 1), [None]])
def test_what_are_no_ids_is_refused(given: Any) -> None:
    with pytest.raises(StudioError):
        picked_ids(given)


def test_each_picture_is_picked_once() -> None:
    assert picked_ids(["a" * 64, "b" * 64, "a" * 64]) == ["a" * 64, "b" * 64]


def test_the_zip_has_the_files_as_they_are_and_is_the_visitors(studio: Studio, kept: Owners) -> None:
    ada, bea = (Visitor(name=name, role=Role.CREATOR, kept=kept) for name in ("ada", "bea"))
    with acting(ada):
        records = [drawn(studio, seed) for seed in (81, 82)]
        file = packed(studio, [record.id for record in records])
    with zipfile.ZipFile(file) as archive:
        assert [archive.read(name) for name in archive.namelist()] == [
            Path(record.path).read_bytes() for record in records
        ]
    assert sees_upload(file, ada, studio.settings.uploads)
    assert not sees_upload(file, bea, studio.settings.uploads)
    with acting(bea), pytest.raises(StoreError):
        packed(studio, [records[0].id])


def test_what_is_somebody_elses_stays_and_is_said(studio: Studio, kept: Owners) -> None:
    ada, bea = (Visitor(name=name, role=Role.CREATOR, kept=kept) for name in ("ada", "bea"))
    with acting(bea):
        hers = drawn(studio, 83)
    kept.share(Kind.IMAGE, hers.path, True)
    with acting(ada):
        own = drawn(studio, 84)
        sentence = delete_all(studio, [own.id, hers.id])
    assert sentence.startswith("1 picture is in the trash now. 1 stays: This picture isn't yours.")
    assert (Path(own.path).exists(), Path(hers.path).exists()) == (False, True)


def test_the_open_picture_stays_open_when_others_are_deleted(studio: Studio) -> None:
    shown, gone = (drawn(studio, seed) for seed in (85, 86))
    page = build(studio)
    deleting = next(one for one in page.fns.values() if one.name == "delete_pictures")

    def answer(*ids: str) -> list[Any]:
        event = EventData(None, {"ids": list(ids)})
        done = page.process_api(deleting, [shown.id], state=SessionState(page), event_data=event)
        return list(asyncio.run(done)["data"])

    assert not any("value" in update or "visible" in update for update in answer(gone.id))
    assert not Path(gone.path).exists()
    assert answer(shown.id)[0] == ""
