"""The people of a home, their passwords and invites."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing

import pytest

from lora_studio.access.roles import Role
from lora_studio.access.visitor import STUDIO, Kind
from lora_studio.errors import ConfigError, NotAllowed, StoreError
from lora_studio.settings import Settings
from lora_studio.store.database import Database
from lora_studio.store.migrations import MIGRATIONS
from lora_studio.store.people import invites as invites_module
from lora_studio.store.people import passwords
from lora_studio.store.people.visitors import LINK, Visitors

PASSWORD = "vier Wörter sind 赤"


@pytest.fixture
def visitors(database: Database, monkeypatch: pytest.MonkeyPatch) -> Visitors:
    monkeypatch.setattr(passwords, "COST", 2)  # what a try costs is no matter here
    return Visitors.over(database, admin="studio", is_open=False)


def test_a_password_is_kept_as_a_hash_of_its_own_each_time() -> None:
    first, second = passwords.hashed(PASSWORD), passwords.hashed(PASSWORD)
    assert first != second
    assert PASSWORD not in first
    assert passwords.is_right(PASSWORD, first)
    assert passwords.is_right(PASSWORD, second)
    assert passwords.COST * passwords.BLOCK * 128 >= 16 * 2**20


@pytest.mark.parametrize("wrong", ["", "Vier Wörter sind 赤", PASSWORD + "\0", "x" * 5000, "\ud800"])
def test_other_passwords_are_wrong(wrong: str) -> None:
    assert not passwords.is_right(wrong, passwords.hashed(PASSWORD))


@pytest.mark.parametrize("kept", ["", "x", PASSWORD, "scrypt$1$1$1$$", passwords.NOBODYS])
def test_nothing_is_right_where_there_is_no_password(kept: str) -> None:
    assert not passwords.is_right("", kept)
    assert not passwords.is_right(PASSWORD, kept)


def test_people_are_added_changed_and_removed(visitors: Visitors) -> None:
    people = visitors.people
    people.add("ada", Role.TRAINER, PASSWORD)
    assert people.knows("ada", PASSWORD)
    assert not people.knows("ada", "another one")
    assert not people.knows("eve", PASSWORD)
    assert visitors.of("ada").role is Role.TRAINER
    assert people.set_role("ada", Role.VIEWER).role is Role.VIEWER
    assert visitors.of("ada").role is Role.VIEWER
    people.set_password("ada", "something new")
    assert not people.knows("ada", PASSWORD)
    people.remove("ada")
    assert visitors.of("ada").role is None
    for act in (people.remove, people.end_sessions, people.get):
        with pytest.raises(StoreError):
            act("ada")


@pytest.mark.parametrize("name", ["", " ", "a b", "a/b", "-x", "x" * 65, "a\0b", "\ud800", "<b>"])
def test_names_that_can_t_be_one(visitors: Visitors, name: str) -> None:
    with pytest.raises(ConfigError):
        visitors.people.add(name, Role.VIEWER, PASSWORD)
    assert visitors.of(name).role is None
    assert not visitors.people.knows(name, PASSWORD)


def test_a_name_is_one_person_s_in_any_case(visitors: Visitors) -> None:
    visitors.people.add("Ada", Role.VIEWER, PASSWORD)
    with pytest.raises(ConfigError):
        visitors.people.add("ada", Role.ADMIN, PASSWORD)
    for short in ("", "1234567", "x" * 300):
        with pytest.raises(ConfigError):
            visitors.people.add("eve", Role.VIEWER, short)


@pytest.mark.parametrize("name", ["local", "Unknown", "ｌｏｃａｌ", "ａda", "ADA", "𝐚𝐝𝐚"])
def test_nobody_takes_a_name_that_looks_like_another_s(visitors: Visitors, name: str) -> None:
    """Nor one that the audit log has for the person at the machine, or for strangers."""
    visitors.people.add("ada", Role.VIEWER, PASSWORD)
    _, token = visitors.invites.make(Role.VIEWER)
    with pytest.raises(ConfigError):
        visitors.invites.accept(token, name, PASSWORD)
    assert [person.name for person in visitors.people.all()] == ["ada"]


def test_the_page_s_own_name_is_the_admin_whoever_is_called_so(visitors: Visitors) -> None:
    visitors.people.add("studio", Role.VIEWER, PASSWORD)
    assert visitors.of("studio").role is Role.ADMIN
    assert Visitors(visitors.people, visitors.invites, visitors.owners, visitors.usage).of(None) is STUDIO
    assert visitors.of(None).role is None
    assert visitors.of("").role is None


def test_sessions_end_by_person_and_all_at_once(visitors: Visitors) -> None:
    visitors.people.add("ada", Role.CREATOR, PASSWORD)
    visitors.people.add("eve", Role.CREATOR, PASSWORD)
    begun = time.time()
    assert not visitors.is_valid("nobody", begun)
    assert all(visitors.is_valid(name, begun) for name in ("ada", "eve", "studio"))
    visitors.people.end_sessions("ada")
    assert [visitors.is_valid(name, begun) for name in ("ada", "eve", "studio")] == [False, True, True]
    assert visitors.is_valid("ada", time.time())
    visitors.people.revoke_all()
    assert not any(visitors.is_valid(name, begun) for name in ("ada", "eve", "studio"))
    assert visitors.is_valid("studio", time.time())


def test_a_name_that_comes_back_does_not_bring_old_sessions_back(visitors: Visitors) -> None:
    visitors.people.add("ada", Role.ADMIN, PASSWORD)
    begun = time.time()
    visitors.people.remove("ada")
    assert not visitors.is_valid("ada", begun)
    visitors.people.add("ada", Role.VIEWER, PASSWORD)
    assert not visitors.is_valid("ada", begun)


def test_an_invite_lets_one_in_once(visitors: Visitors, database: Database) -> None:
    invite, token = visitors.invites.make(Role.TRAINER, note="for Ada")
    assert token not in str([tuple(row) for row in database.read("SELECT * FROM invites")])
    assert visitors.invites.find(token) == invite
    assert visitors.invites.find(token[:-1] + "x") is None
    assert visitors.invites.accept(token, "ada", PASSWORD) is Role.TRAINER
    assert visitors.of("ada").role is Role.TRAINER
    assert visitors.invites.find(token) is None
    with pytest.raises(NotAllowed):
        visitors.invites.accept(token, "eve", PASSWORD)
    assert visitors.of("eve").role is None
    assert visitors.invites.get(invite.id).state(time.time()) == "used"


def test_what_fails_does_not_use_an_invite_up(visitors: Visitors) -> None:
    visitors.people.add("ada", Role.VIEWER, PASSWORD)
    _, token = visitors.invites.make(Role.CREATOR, uses=2)
    for name, password in (("ada", PASSWORD), ("a b", PASSWORD), ("eve", "short")):
        with pytest.raises(ConfigError):
            visitors.invites.accept(token, name, password)
    assert visitors.of("ada").role is Role.VIEWER
    for name in ("eve", "bob"):
        visitors.invites.accept(token, name, PASSWORD)
    assert visitors.invites.find(token) is None


def test_an_invite_ends(visitors: Visitors, monkeypatch: pytest.MonkeyPatch) -> None:
    (old, token), (other, other_token) = (
        visitors.invites.make(Role.VIEWER),
        visitors.invites.make(Role.VIEWER),
    )
    visitors.invites.revoke(other.id)
    assert visitors.invites.find(other_token) is None
    later = old.expires_at + 1
    monkeypatch.setattr(invites_module.time, "time", lambda: later)
    assert visitors.invites.find(token) is None
    with pytest.raises(NotAllowed):
        visitors.invites.accept(token, "ada", PASSWORD)
    assert [invite.state(later) for invite in visitors.invites.all()].count("revoked") == 1
    _, third = visitors.invites.make(Role.VIEWER)
    _, link = visitors.invites.make_link()
    visitors.people.revoke_all()
    assert visitors.invites.find(third) is None
    assert visitors.invites.open_link(link) is None


def test_a_read_only_link_is_no_invite_and_ends(visitors: Visitors, monkeypatch: pytest.MonkeyPatch) -> None:
    link, token = visitors.invites.make_link(hours=1, note="for the club")
    name, begun = f"{LINK}{link.id}", time.time()
    assert visitors.invites.find(token) is None
    with pytest.raises(NotAllowed):
        visitors.invites.accept(token, "eve", PASSWORD)
    assert visitors.invites.open_link(token) is not None
    _, invite = visitors.invites.make(Role.ADMIN)
    assert visitors.invites.open_link(invite) is None
    present = visitors.of(name)
    assert (present.role, present.sees(Kind.LORA, "ink")) == (Role.VIEWER, False)
    visitors.owners.share(Kind.LORA, "ink", True)
    assert present.sees(Kind.LORA, "ink")
    assert not present.owns(Kind.LORA, "ink")
    assert visitors.is_valid(name, begun)
    assert visitors.of(f"{LINK}{visitors.invites.all()[0].id}").role is None
    with pytest.raises(ConfigError):
        visitors.people.add(name, Role.ADMIN, PASSWORD)
    later = link.expires_at + 1
    monkeypatch.setattr(invites_module.time, "time", lambda: later)
    assert visitors.of(name).role is None
    assert not visitors.is_valid(name, begun)
    assert visitors.invites.open_link(token) is None


@pytest.mark.parametrize(
    "wrong", [{"hours": 0}, {"hours": 1e9}, {"hours": float("nan")}, {"uses": 0}, {"uses": 101}]
)
def test_invites_without_an_end_are_not_made(visitors: Visitors, wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        visitors.invites.make(Role.VIEWER, **wrong)  # type: ignore[arg-type]


def test_what_was_there_before_people_stays_visible_to_all(settings: Settings) -> None:
    with closing(sqlite3.connect(settings.database, isolation_level=None)) as old:
        for step in MIGRATIONS[:5]:
            step(old)
        old.execute("PRAGMA user_version = 5")
        old.execute("INSERT INTO images VALUES ('/a.png', 'sum', 1, '', '', '{}')")
        old.execute("INSERT INTO datasets VALUES ('set', 1, '{}')")
        old.execute("INSERT INTO outbox(kind, key) VALUES ('lora', 'ink')")
    with closing(Database(settings.database)) as database:
        visitors = Visitors.over(database, is_open=False)
        visitors.people.add("eve", Role.VIEWER, PASSWORD)
        eve = visitors.of("eve")
        for kind, key in ((Kind.IMAGE, "/a.png"), (Kind.DATASET, "set"), (Kind.LORA, "ink")):
            assert eve.sees(kind, key)
            assert not eve.owns(kind, key)
        assert not eve.sees(Kind.LORA, "another")
        assert not visitors.of("mallory").sees(Kind.LORA, "ink")
