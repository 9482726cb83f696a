"""Sessions of a page, and the ways in by an invite and by a person's own password."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from urllib.parse import urlencode

import pytest

from lora_studio.access.roles import Role
from lora_studio.errors import ConfigError
from lora_studio.store.database import Database
from lora_studio.store.people import passwords
from lora_studio.store.people.people import SHORTEST_PASSWORD
from lora_studio.store.people.visitors import Visitors
from lora_studio.ui.serving import login, sessions
from lora_studio.ui.serving.gate import Gate
from lora_studio.ui.serving.login import Access
from lora_studio.ui.serving.login_form import enter
from lora_studio.ui.serving.request_origin import Names
from lora_studio.ui.serving.sessions import Sessions
from tests.support.asgi import Answered, Pair, Sent, answer_to

OWNER = Access(username="studio", password="correct horse", people=True)
PASSWORD = "battery staple"
HOST: Pair = ("host", "studio.example")
INNER = 222


@pytest.fixture
def visitors(database: Database, monkeypatch: pytest.MonkeyPatch) -> Visitors:
    monkeypatch.setattr(passwords, "COST", 2)  # what a try costs is no matter here
    made = Visitors.over(database, admin="studio", is_open=False)
    made.people.add("ada", Role.CREATOR, PASSWORD)
    made.people.add("vic", Role.VIEWER, PASSWORD)
    return made


@pytest.fixture
def gate(visitors: Visitors, monkeypatch: pytest.MonkeyPatch) -> Gate:
    monkeypatch.setattr(login, "WRONG_SECONDS", 0.0)
    made = Gate(OWNER, Names.of("0.0.0.0", anyone=True), visitors=visitors)
    made.cookie = "session"
    return made


async def inside(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": INNER, "headers": []})
    await send({"type": "http.response.body", "body": b"inside"})


def ask(gate: Gate, path: str, headers: tuple[Pair, ...] = (), **sent: Any) -> Answered:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["query_string"] = sent_query
        await gate(scope, receive, send, inside)

    path, _, query = path.partition("?")
    sent_query = query.encode()
    return asyncio.run(answer_to(app, Sent(path=path, headers=[HOST, *headers], **sent)))


def log_in(gate: Gate, **fields: str) -> Answered:
    form: Pair = ("content-type", "application/x-www-form-urlencoded")
    return ask(gate, "/login", (form,), method="POST", chunks=[urlencode(fields).encode()])


def cookie_of(answer: Answered) -> Pair:
    return ("cookie", answer.header("set-cookie").partition(";")[0])


def test_the_form_of_an_invite_asks_for_as_long_a_password_as_is_needed(
    gate: Gate, visitors: Visitors
) -> None:
    _, token = visitors.invites.make(Role.VIEWER)
    assert f'minlength="{SHORTEST_PASSWORD}"'.encode() in ask(gate, f"/?invite={token}").body
    with pytest.raises(ConfigError):
        visitors.invites.accept(token, "eve", "x" * (SHORTEST_PASSWORD - 1))


def test_people_come_in_by_their_own_passwords(gate: Gate) -> None:
    for name, password in (("ada", PASSWORD), ("studio", "correct horse")):
        given = log_in(gate, username=name, password=password)
        assert given.status == 200
        assert ask(gate, "/config", (cookie_of(given),)).status == INNER
    for name, password in (("ada", "correct horse"), ("eve", PASSWORD), ("ADA", PASSWORD), ("", "")):
        assert log_in(gate, username=name, password=password).status == 400


def test_nobody_comes_in_under_the_owner_s_name(gate: Gate, visitors: Visitors) -> None:
    visitors.people.add("studio", Role.VIEWER, PASSWORD)
    assert log_in(gate, username="studio", password=PASSWORD).status == 400
    _, token = visitors.invites.make(Role.VIEWER)
    for name in ("studio", "Studio"):
        assert log_in(gate, username=name, password=PASSWORD, invite=token).status == 400


def test_an_invite_s_link_shows_a_form_and_lets_one_in(gate: Gate, visitors: Visitors) -> None:
    _, token = visitors.invites.make(Role.TRAINER)
    page = ask(gate, f"/?invite={token}")
    assert page.status == 200
    assert f'value="{token}"'.encode() in page.body
    assert page.header("referrer-policy") == "same-origin"
    assert log_in(gate, username="ada", password=PASSWORD, invite=token).status == 400
    assert log_in(gate, username="new", password="short", invite=token).status == 400
    given = log_in(gate, username="new", password=PASSWORD, invite=token)
    assert given.status == 200
    assert ask(gate, "/config", (cookie_of(given),)).status == INNER
    assert visitors.of("new").role is Role.TRAINER
    assert log_in(gate, username="more", password=PASSWORD, invite=token).status == 410
    assert ask(gate, f"/?invite={token}").status == 410
    assert ask(gate, "/?invite=%3Cscript%3E").status == 410
    assert log_in(gate, username="new", password=PASSWORD).status == 200


def test_a_session_ends_with_the_person_and_with_the_kill_switch(gate: Gate, visitors: Visitors) -> None:
    cookies = {
        name: cookie_of(log_in(gate, username=name, password=password))
        for name, password in (("ada", PASSWORD), ("vic", PASSWORD), ("studio", "correct horse"))
    }

    def who_is_in() -> set[str]:
        return {name for name, cookie in cookies.items() if ask(gate, "/config", (cookie,)).status == INNER}

    assert who_is_in() == {"ada", "vic", "studio"}
    visitors.people.end_sessions("vic")
    assert who_is_in() == {"ada", "studio"}
    visitors.people.remove("ada")
    assert who_is_in() == {"studio"}
    cookies["vic"] = cookie_of(log_in(gate, username="vic", password=PASSWORD))
    assert who_is_in() == {"vic", "studio"}
    visitors.people.revoke_all()
    assert who_is_in() == set()
    assert not list(gate.tokens)


def test_a_password_that_is_changed_while_it_is_compared_lets_nobody_in(
    gate: Gate, visitors: Visitors, monkeypatch: pytest.MonkeyPatch
) -> None:
    people, compare = visitors.people, visitors.people.knows

    def knows(name: str, password: str) -> bool:
        is_right = compare(name, password)
        people.set_password(name, PASSWORD[::-1])
        return is_right

    monkeypatch.setattr(people, "knows", knows)
    given = log_in(gate, username="ada", password=PASSWORD)
    assert given.status == 200
    assert ask(gate, "/config", (cookie_of(given),)).status == 401


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_who_logs_out_ends_one_session(gate: Gate, visitors: Visitors, method: str) -> None:
    _, token = visitors.invites.make_link(hours=1)
    ways = (lambda: log_in(gate, username="ada", password=PASSWORD), lambda: ask(gate, f"/?view={token}"))
    for made in ways:
        here, elsewhere = cookie_of(made()), cookie_of(made())
        answer = ask(gate, "/logout", (here,), method=method)
        assert (answer.status, answer.header("location")) == (303, "./")
        assert "Max-Age=0" in answer.header("set-cookie")
        assert ask(gate, "/config", (here,)).status == 401
        assert ask(gate, "/config", (elsewhere,)).status == INNER
    assert ask(gate, "/logout", method=method).status == 303


def test_a_page_of_somebody_else_logs_nobody_out(gate: Gate) -> None:
    cookie = cookie_of(log_in(gate, username="ada", password=PASSWORD))
    foreign: tuple[Pair, ...] = (cookie, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"))
    for method in ("GET", "POST"):
        assert ask(gate, "/logout", foreign, method=method).status == 403
    assert ask(gate, "/config", (cookie,)).status == INNER


def test_a_viewer_uploads_nothing(gate: Gate) -> None:
    for name, status in (("vic", 403), ("ada", INNER)):
        cookie = cookie_of(log_in(gate, username=name, password=PASSWORD))
        assert ask(gate, "/gradio_api/upload", (cookie,), method="POST").status == status


def test_sessions_end_with_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(sessions.time, "time", lambda: now)
    kept = Sessions()
    kept["a"] = "ada"
    kept["b"] = "bob"
    now += sessions.IDLE_SECONDS - 1
    assert kept["a"] == "ada"
    now += 2
    assert "b" not in kept
    assert dict(kept) == {"a": "ada"}
    begun = now
    while now < begun + sessions.LONGEST_SECONDS:
        now += sessions.IDLE_SECONDS / 2
        kept.get("a")
    assert kept.get("a") is None
    assert len(kept) == 0


def test_there_are_only_so_many_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MOST_SESSIONS", 3)
    kept = Sessions()
    for token in "abcde":
        kept[token] = token
    assert sorted(kept) == ["c", "d", "e"]


def test_one_name_has_only_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """A link is opened by anybody who has it: that must not put others out."""
    monkeypatch.setattr(sessions, "MOST_OF_ONE", 2)
    kept = Sessions()
    kept["ada's"] = "ada"
    for token in "abcde":
        kept[token] = "link:1"
    assert sorted(kept) == ["ada's", "d", "e"]


def test_who_has_just_logged_in_is_not_the_one_who_has_to_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session begins when its password is asked for, and is used when that was found to be right."""
    monkeypatch.setattr(sessions, "MOST_OF_ONE", 2)
    kept = Sessions()
    before = time.time() - 5
    for token in "ab":
        kept[token] = "ada"
    kept.begin("c", "ada", before)
    assert "c" in kept


def test_a_read_only_link_lets_look_around_and_nothing_else(gate: Gate, visitors: Visitors) -> None:
    link, token = visitors.invites.make_link(hours=1)
    answer = ask(gate, f"/?view={token}")
    assert answer.status == 303
    assert token not in answer.header("location")
    cookie = cookie_of(answer)
    assert ask(gate, "/config", (cookie,)).status == INNER
    assert ask(gate, "/gradio_api/upload", (cookie,), method="POST").status == 403
    assert visitors.invites.get(link.id).used == 1
    ended, other = ask(gate, f"/?view={token[:-1]}x"), ask(gate, f"/?invite={token}")
    for refused in (ended, other):
        assert refused.status == 410
        assert not refused.header("set-cookie")
    assert not ask(gate, f"/?view={token}", method="HEAD").header("set-cookie")
    visitors.invites.revoke(link.id)
    assert ask(gate, "/config", (cookie,)).status == 401
    assert ask(gate, f"/?view={token}").status == 410


def test_one_address_takes_only_a_few_of_the_places_where_passwords_are_compared() -> None:
    class Slow:
        def knows(self, name: str, password: str) -> bool:
            return False

    async def scene() -> list[login.Answer]:
        door = login.Login(OWNER, Slow())
        tries = [asyncio.create_task(door.attempt("ada", f"{n}", "192.0.2.1")) for n in range(20)]
        await asyncio.sleep(0)
        away = [task.result() for task in tries if task.done()]
        for task in tries:
            task.cancel()
        await asyncio.gather(*tries, return_exceptions=True)
        return away

    assert asyncio.run(scene()) == [login.Answer.TOO_MANY] * (20 - login.MOST_PENDING_OF_ONE)


def test_an_invite_waits_for_a_place_as_a_password_does(visitors: Visitors) -> None:
    """Making a password costs as much as comparing one."""
    _, token = visitors.invites.make(Role.VIEWER)
    given = {"username": "eve", "password": PASSWORD, "invite": token}
    door = login.Login(OWNER, visitors.people)

    async def hold(address: str, enough: asyncio.Event) -> None:
        async with door.place(address) as has_place:
            assert has_place
            await enough.wait()

    async def scene() -> tuple[int, int, str]:
        enough = asyncio.Event()
        address = "203.0.113.9"
        holding = [asyncio.create_task(hold(address, enough)) for _ in range(login.MOST_PENDING_OF_ONE)]
        await asyncio.sleep(0)
        refused = await enter(given, door, visitors, address)
        enough.set()
        await asyncio.gather(*holding)
        let_in = await enter(given, door, visitors, address)
        return refused.status, let_in.status, let_in.name

    assert asyncio.run(scene()) == (429, 200, "eve")
