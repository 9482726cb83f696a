"""The page's revision: it moves with what a page shows, and who may ask for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from lora_studio.access.roles import Role
from lora_studio.access.visitor import Kind
from lora_studio.errors import StoreError
from lora_studio.records import LoraRecord
from lora_studio.store.database import Database
from lora_studio.store.library import Library
from lora_studio.store.people.people import People
from lora_studio.studio import Studio
from lora_studio.ui.page_revision import REVISION, Revisions, page_revision
from lora_studio.ui.serving.gate import Gate
from lora_studio.ui.serving.login import Access
from lora_studio.ui.serving.request_origin import Names
from tests.support.asgi import Answered, Pair, Sent, answer_to
from tests.support.library_entries import draw

LOCKED = Access(username="ada", password="correct horse")


def put_lora(studio: Studio) -> None:
    Library(studio.database).put_lora(
        LoraRecord(id="x", slug="moved", title="x", path="", family="", base="")
    )


def draw_a_step(studio: Studio) -> None:
    studio.generation_queue.revision += 1


CHANGES: dict[str, Callable[[Studio], Any]] = {
    "a LoRA": put_lora,
    "a LoRA's end": lambda studio: Library(studio.database).remove_lora("moved"),
    "a picture": lambda studio: studio.gallery.add_image(draw(studio.settings)),
    "a shared thing": lambda studio: studio.share(Kind.IMAGE, studio.gallery.images()[0].id),
    "a person": lambda studio: People(studio.database).add("bea", Role.VIEWER, "battery staple"),
    "a generation": draw_a_step,
    "a folder by hand": lambda studio: (studio.settings.loras / "by-hand").mkdir(parents=True),
}


def test_it_moves_with_each_change_and_not_without(studio: Studio) -> None:
    seen = [page_revision(studio)]
    for what, change in CHANGES.items():
        assert page_revision(studio) == seen[-1], what
        change(studio)
        seen.append(page_revision(studio))
    assert len(set(seen)) == len(seen)


def ask(studio: Studio, access: Access = Access(), headers: tuple[Pair, ...] = ()) -> Answered:
    gate = Gate(access, Names.of("127.0.0.1", anyone=False))
    gate.cookie, gate.tokens, gate.revisions = "session", {"known": "ada"}, Revisions(studio)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await gate(scope, receive, send, receive)

    sent = Sent(headers=[("host", "localhost:7860"), *headers], path=REVISION)
    return asyncio.run(answer_to(app, sent))


def test_the_answer_is_small_and_says_when_to_ask_again(studio: Studio) -> None:
    answered = ask(studio)
    assert json.loads(answered.body) == {"revision": page_revision(studio), "seconds": 1.0}
    assert len(answered.body) < 100


def test_only_who_has_logged_in_may_ask(studio: Studio) -> None:
    assert ask(studio, LOCKED).status == 401
    assert ask(studio, LOCKED, (("cookie", "session=known"),)).status == 200


def test_a_database_that_fails_lets_the_page_look(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(database: Database) -> dict[str, int]:
        raise StoreError("The database is locked.")

    monkeypatch.setattr(Database, "revisions", fail)
    assert json.loads(ask(studio).body)["revision"] == ""
