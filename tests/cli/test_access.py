"""`lora-studio access`: people and invites by hand."""

from __future__ import annotations

import re
from pathlib import Path

from lora_studio.access.quotas import Use
from lora_studio.access.visitor import Kind
from lora_studio.gallery import Gallery
from lora_studio.settings import Settings
from lora_studio.store.database import Database
from lora_studio.store.library import Library
from lora_studio.store.people.visitors import Visitors
from tests.support.command import Command
from tests.support.library_entries import write_lora


def test_somebody_is_added_changed_and_removed(command: Command, database: Database) -> None:
    assert "lora-studio access invite" in command("access", "list").out
    added = command("access", "add", "ada", "--role", "trainer")
    password = added.out.split()[-1]
    people = Visitors.over(database).people
    assert added.code == 0
    assert people.knows("ada", password)
    assert command("access", "role", "ada", "viewer").code == 0
    head, row = command("access", "list").out.splitlines()
    assert head.split() == ["NAME", "ROLE", "SINCE"]
    assert row.split()[:2] == ["ada", "viewer"]
    renewed = command("access", "password", "ada").out.split()[-1]
    assert not people.knows("ada", password)
    assert people.knows("ada", renewed)
    assert password not in command("access", "list", "--json").out
    assert command("access", "remove", "ada").code == 0
    assert command("access", "list", "--json").json == {"people": [], "invites": []}


def test_an_invite_is_made_and_closed(command: Command, database: Database) -> None:
    options = ("--role", "creator", "--hours", "2", "--uses", "3", "--note", "team")
    said = command("access", "invite", *options).out
    invite_id, token = said.split()[1], said.rsplit("=", 1)[1].strip()
    invites = Visitors.over(database).invites
    assert invites.find(token) is not None
    listed = command("access", "list").out
    assert re.search(rf"{invite_id} +creator +open +0/3 .* team", listed)
    assert token not in listed
    assert command("access", "revoke", invite_id).code == 0
    assert invites.find(token) is None
    assert "revoked" in command("access", "list").out
    assert command("access", "revoke-all").code == 0


def test_a_read_only_link_is_made_and_closed(command: Command, database: Database) -> None:
    made = command("access", "link", "--hours", "2", "--note", "club").out
    link_id, token = made.split()[1], made.rsplit("=", 1)[1].strip()
    invites = Visitors.over(database).invites
    assert invites.open_link(token) is not None
    assert re.search(rf"{link_id} +link +open +1 .* club", command("access", "list").out)
    assert command("access", "revoke", link_id).code == 0
    assert invites.open_link(token) is None


def test_quotas_are_shown_and_set(command: Command, database: Database) -> None:
    command("access", "add", "ada", "--role", "trainer")
    people = Visitors.over(database).people
    assert re.search(r"^images +0 +500 ", command("access", "quota", "ada").out, re.MULTILINE)
    shown = command("access", "quota", "ada", "images=7", "disk=1.5", "steps=none").out
    assert re.search(r"^images +0 +7 ", shown, re.MULTILINE)
    assert re.search(r"^disk +0 kB +1.5 GB ", shown, re.MULTILINE)
    assert re.search(r"^steps +0 +no limit ", shown, re.MULTILINE)
    assert people.get("ada").limit(Use.IMAGES) == 7
    assert command("access", "quota", "ada", "images=default").code == 0
    assert people.get("ada").limit(Use.IMAGES) == 500
    assert people.get("ada").limit(Use.STEPS) is None


def test_something_is_shared_and_taken_back(
    command: Command, settings: Settings, database: Database, tmp_path: Path
) -> None:
    Gallery(settings, Library(database)).import_lora(write_lora(tmp_path / "ink.safetensors"))
    owners = Visitors.over(database).owners
    assert command("access", "share", "lora", "ink").code == 0
    assert owners.is_shared(Kind.LORA, "ink")
    assert command("access", "unshare", "lora", "ink").code == 0
    assert not owners.is_shared(Kind.LORA, "ink")


def test_what_is_wrong_is_a_sentence(command: Command) -> None:
    for words in (
        ("add", "ada", "--role", "king"),
        ("add", "a b"),
        ("role", "ada", "viewer"),
        ("remove", "nobody"),
        ("revoke", "nothing"),
        ("invite", "--hours", "0"),
        ("invite", "--uses", "1000"),
        ("link", "--hours", "0"),
        ("share", "lora", "nothing"),
        ("share", "cat", "x"),
        ("quota", "nobody"),
        ("quota", "nobody", "images=1"),
        (),
    ):
        outcome = command("access", *words)
        assert outcome.code == 2, words
        assert outcome.err.startswith("error: "), words
