"""The trash on the page: who sees what was deleted, and what can't be taken back."""

from __future__ import annotations

from pathlib import Path

import pytest

from lora_studio.access.roles import Role
from lora_studio.access.visitor import NOBODY, STUDIO, Visitor, acting
from lora_studio.errors import StoreError
from lora_studio.store.people.ownership import Owners
from lora_studio.store.trash import LEAVING, Trash
from lora_studio.studio import Studio
from lora_studio.ui.gallery.trash_tab import MOST_LISTED, deletions, trash_list
from tests.support.html import parse
from tests.support.library_entries import draw


def delete_picture(studio: Studio, prompt: str, seed: int) -> str:
    record = studio.gallery.add_image(draw(studio.settings, prompt, seed))
    return studio.gallery.delete_image(record.id)


@pytest.fixture
def people(studio: Studio) -> list[Visitor]:
    kept = Owners(studio.database)
    return [Visitor(name=name, role=Role.CREATOR, kept=kept) for name in ("ada", "bea")]


def test_what_is_deleted_is_listed_with_its_ways(studio: Studio) -> None:
    token = delete_picture(studio, "<b>fox</b>", 71)
    root = parse(trash_list(studio))
    buttons = {str(one.get("data-action")) for one in root.iter("button") if one.get("data-id") == token}
    assert buttons == {"undo", "purge"}
    assert "<b>fox</b>" in "".join(root.itertext())
    Trash(studio.settings.trash).purge(token)
    assert token not in trash_list(studio)
    assert not list(studio.settings.trash.glob(f"{token}*"))


def test_each_sees_and_ends_their_own_deletions_alone(studio: Studio, people: list[Visitor]) -> None:
    ada, bea = people
    with acting(ada):
        hers = delete_picture(studio, "of Ada", 72)
    trash = Trash(studio.settings.trash)
    for other in (bea, NOBODY):
        with acting(other):
            assert hers not in {entry.token for entry in deletions(studio)}
            with pytest.raises(StoreError):
                trash.purge(hers)
    with acting(ada):
        assert [entry.token for entry in deletions(studio)] == [hers]
        trash.purge(hers)
    with acting(STUDIO), pytest.raises(StoreError, match="not in the trash"):
        trash.purge(hers)


@pytest.mark.parametrize("token", ["", "..", "../images", "0" * 32, "a" * 31 + "/"])
def test_no_path_leads_out_of_the_trash(studio: Studio, token: str) -> None:
    with pytest.raises(StoreError):
        Trash(studio.settings.trash).purge(token)


def test_what_a_killed_process_left_goes_with_the_next(studio: Studio) -> None:
    left = studio.settings.trash / f"{'f' * 32}{LEAVING}"
    left.mkdir(parents=True)
    Path(left / "0-x.png").touch()
    Trash(studio.settings.trash).purge(delete_picture(studio, "x", 73))
    assert not left.exists()


def test_of_a_large_trash_the_newest_are_listed(studio: Studio, tmp_path: Path) -> None:
    trash = Trash(studio.settings.trash)
    tokens = []
    for number in range(MOST_LISTED + 2):
        file = tmp_path / f"{number}.png"
        file.touch()
        tokens.append(trash.put("image", f"picture {number}", [file]))
    shown = trash_list(studio)
    assert tokens[-1] in shown
    assert tokens[0] not in shown
    assert "2 older deletions are not listed." in shown
