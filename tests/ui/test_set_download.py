"""A set as a ZIP: made beside uploads, ended by a stop, within the quota of who asks for it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from lora_studio.access.roles import Role
from lora_studio.access.visitor import Visitor, acting
from lora_studio.data.edits.picture_edits import FlipPicture
from lora_studio.errors import DatasetError, DeviceBusy, QuotaReached
from lora_studio.events import PhaseAdvanced
from lora_studio.studio import Studio
from lora_studio.ui.endpoints import library_endpoints
from lora_studio.ui.endpoints.library_endpoints import LibraryEndpoints
from lora_studio.ui.picture_sets.set_download import packed_set, sentence
from tests.support.api_caller import write_picture


@pytest.fixture
def dataset_id(studio: Studio, tmp_path: Path) -> str:
    return studio.datasets.create("Two", [write_picture(tmp_path / f"{name}.png") for name in "ab"]).id


class Small:
    """An allowance without any room."""

    def room(self, wanted: int) -> AbstractContextManager[None]:
        raise QuotaReached(f"{wanted} bytes are too many.")


def test_uploads_and_zips_wait_only_for_their_own_kind(studio: Studio, dataset_id: str) -> None:
    with studio.turns.take("upload"):
        file, export = packed_set(studio, dataset_id)
    assert (file.is_file(), export.pictures) == (True, 2)
    with studio.turns.take("export"), pytest.raises(DeviceBusy, match="being packed"):
        packed_set(studio, dataset_id, should_stop=lambda: True)


def test_a_stop_ends_it_before_all_edited_pictures_are_made(studio: Studio, dataset_id: str) -> None:
    studio.datasets.edit(dataset_id, [FlipPicture("a.png"), FlipPicture("b.png")])
    answers = iter([False])
    with pytest.raises(DatasetError, match="stopped"):
        packed_set(studio, dataset_id, should_stop=lambda: next(answers, True))
    assert len([*studio.settings.edited.rglob("*.png")]) == 1
    assert not [*studio.settings.uploads.rglob("*.zip")]


def test_there_has_to_be_room_in_the_quota(studio: Studio, dataset_id: str) -> None:
    allowance: Any = Small()
    with acting(Visitor(role=Role.ADMIN, allowance=allowance)), pytest.raises(QuotaReached):
        packed_set(studio, dataset_id)
    assert not [*studio.settings.uploads.rglob("*.zip")]


def test_it_says_how_far_it_is(studio: Studio, dataset_id: str) -> None:
    said: list[PhaseAdvanced] = []
    packed_set(studio, dataset_id, emit=lambda event: said.append(event))  # type: ignore[arg-type]
    assert [(event.done, event.total) for event in said][:2] == [(0, 4), (1, 4)]
    assert [event.done for event in said] == sorted(event.done for event in said)
    assert said[-1].done == 4
    assert [sentence(said[1]), sentence(said[-1])] == ["1 of 2 pictures read", "2 of 2 pictures written"]


def test_a_client_stops_its_own_export_only(
    studio: Studio, dataset_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoints = LibraryEndpoints(studio)
    sessions = iter(["mine", "another", "mine"])
    monkeypatch.setattr(library_endpoints, "session_of_caller", lambda: next(sessions))
    real, answers = studio.datasets.export, list[bool]()

    def stopped_meanwhile(*arguments: Any, **named: Any) -> Any:
        answers.extend(endpoints.stop_export() for _ in range(2))
        return real(*arguments, **named)

    monkeypatch.setattr(studio.datasets, "export", stopped_meanwhile)
    with pytest.raises(DatasetError, match="stopped"):
        endpoints.export_dataset(dataset_id)
    assert answers == [False, True]
    assert not [*studio.settings.uploads.rglob("*.zip")]
