"""Settings that people keep: each person their own, replaced by name, deleted with an undo."""

from __future__ import annotations

import pytest

from lora_studio.access.roles import Role
from lora_studio.access.visitor import Visitor, acting
from lora_studio.errors import ConfigError, NotAllowed, StoreError
from lora_studio.store.database import Database
from lora_studio.store.people import saved_settings
from lora_studio.store.people.ownership import Owners
from lora_studio.store.people.saved_settings import SavedSettingsShelf
from tests.support.refusals import refused


@pytest.fixture
def shelf(database: Database) -> SavedSettingsShelf:
    return SavedSettingsShelf(database)


def person(database: Database, name: str, role: Role = Role.TRAINER) -> Visitor:
    return Visitor(name=name, role=role, kept=Owners(database))


def test_settings_are_kept_replaced_renamed_deleted_and_brought_back(shelf: SavedSettingsShelf) -> None:
    first = shelf.save("Faces, slowly", {"network_dim": "16"}, "sd15")
    assert (first.title, first.base) == ("Faces, slowly", "sd15")
    again = shelf.save("Faces, slowly", {"network_dim": "32"})
    assert [dict(one.values) for one in shelf.all()] == [{"network_dim": "32"}]
    shelf.save("Ink", {"seed": "7"})
    with refused("name"):
        shelf.rename(again.id, "Ink")
    assert shelf.rename(again.id, "Faces").title == "Faces"
    shelf.delete(again.id)
    assert [one.title for one in shelf.all()] == ["Ink"]
    with pytest.raises(StoreError):
        shelf.get(again.id)
    shelf.save("Faces", {"seed": "1"})
    with refused("name"):
        shelf.undo(again.id)
    shelf.delete(next(one.id for one in shelf.all() if one.title == "Faces"))
    assert shelf.undo(again.id).values == {"network_dim": "32"}
    with pytest.raises(StoreError, match="nothing to undo"):
        shelf.undo(again.id)


def test_nobody_sees_or_changes_another_person_s(database: Database, shelf: SavedSettingsShelf) -> None:
    with acting(person(database, "ada")):
        hers = shelf.save("Faces", {"seed": "1"})
    for other in (person(database, "bob"), person(database, "root", Role.ADMIN)):
        with acting(other):
            assert shelf.all() == []
            for act in (shelf.get, shelf.delete, shelf.undo, lambda key: shelf.rename(key, "Mine")):
                with pytest.raises(StoreError):
                    act(hers.id)
            assert shelf.save("Faces", {"seed": "2"}).id != hers.id
    with acting(person(database, "eve", Role.CREATOR)), pytest.raises(NotAllowed):
        shelf.save("Faces", {"seed": "3"})
    with acting(person(database, "ada")):
        assert [dict(one.values) for one in shelf.all()] == [{"seed": "1"}]


def test_nobody_fills_the_database_with_them(
    shelf: SavedSettingsShelf, monkeypatch: pytest.MonkeyPatch, database: Database
) -> None:
    monkeypatch.setattr(saved_settings, "MOST_KEPT", 3)
    with pytest.raises(ConfigError, match="too long"):
        shelf.save("Long", {"sample_prompts": "x" * 200_000})
    for number in range(12):
        shelf.delete(shelf.save(str(number), {"seed": str(number)}).id)
    (count,) = database.read("SELECT count(*) FROM saved_settings")[0]
    assert count <= 4
    for number in range(3):
        shelf.save(str(number), {"seed": "1"})
    with pytest.raises(StoreError, match="already"):
        shelf.save("One more", {"seed": "1"})
    shelf.save("1", {"seed": "2"})  # in the place of one that is there
