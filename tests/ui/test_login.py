"""The password: nobody is kept out by others' wrong ones, and wrong ones get their answers slowly."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from lora_studio.ui.serving import login
from lora_studio.ui.serving.gate import Gate
from lora_studio.ui.serving.login import Access, Answer, Login, group_of
from lora_studio.ui.serving.request_origin import Names
from tests.support.asgi import Answered, Pair, Sent, answer_to

ADA = Access(username="ada", password="gehéim 赤")
FORM = ("content-type", "application/x-www-form-urlencoded")
HOST = ("host", "studio.example")


def gate_of(**how: Any) -> Gate:
    gate = Gate(ADA, Names.of("0.0.0.0", anyone=True, **how))
    gate.cookie = "session"
    return gate


def post(gate: Gate, body: bytes, headers: Sequence[Pair] = (FORM,), **sent: Any) -> Answered:
    async def inside(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("the login came through")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await gate(scope, receive, send, inside)

    request = Sent(method="POST", path="/login", headers=[HOST, *headers], chunks=[body], **sent)
    return asyncio.run(answer_to(app, request))


def test_the_right_password_is_let_in_while_thousands_of_wrong_ones_are_tried() -> None:
    """Counted in turns of the event loop, not in seconds: it never waits."""

    async def scene() -> tuple[list[Answer], bool]:
        door = Login(ADA)
        addresses = [f"203.0.113.{n % 250}" for n in range(3000)]
        tries = [asyncio.create_task(door.attempt("ada", f"wrong {n}", a)) for n, a in enumerate(addresses)]
        await asyncio.sleep(0)
        right = door.attempt(ADA.username, ADA.password, addresses[0])
        with pytest.raises(StopIteration) as at_once:
            right.send(None)  # it ends before it gives up the loop once
        waiting = [task for task in tries if not task.done()]
        assert 0 < len(waiting) <= login.MOST_PENDING
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        return [task.result() for task in tries if not task.cancelled()], at_once.value.value is Answer.RIGHT

    sent_away, let_in = asyncio.run(scene())
    assert let_in
    assert set(sent_away) == {Answer.TOO_MANY}


def test_one_address_takes_only_a_few_of_the_places() -> None:
    async def scene() -> list[Answer]:
        door = Login(ADA)
        tries = [asyncio.create_task(door.attempt("ada", "x", f"2001:db8::{n:x}")) for n in range(20)]
        other = asyncio.create_task(door.attempt("ada", "x", "2001:db8:0:1::1"))
        await asyncio.sleep(0)
        assert sum(not task.done() for task in tries) == login.MOST_PENDING_OF_ONE
        assert not other.done()
        for task in (*tries, other):
            task.cancel()
        await asyncio.gather(*tries, other, return_exceptions=True)
        return [task.result() for task in tries if not task.cancelled()]

    assert asyncio.run(scene()) == [Answer.TOO_MANY] * 16


def test_each_wrong_password_of_an_address_waits_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    async def note(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(login.asyncio, "sleep", note)

    async def scene() -> None:
        door = Login(ADA)
        for _ in range(6):
            assert await door.attempt("ada", "x", "192.0.2.1") is Answer.WRONG
        assert await door.attempt("ada", "x", "192.0.2.2") is Answer.WRONG
        assert await door.attempt(ADA.username, ADA.password, "192.0.2.1") is Answer.RIGHT
        assert await door.attempt("ada", "x", "192.0.2.1") is Answer.WRONG

    asyncio.run(scene())
    assert waits == [0.5, 1, 2, 4, 4, 4, 0.5, 0.5]


def test_addresses_are_grouped_as_visitors_have_them() -> None:
    assert group_of("2001:db8::1") == group_of("2001:db8::ffff:1") != group_of("2001:db8:0:1::1")
    assert group_of("::ffff:192.0.2.1") == group_of("192.0.2.1") != group_of("192.0.2.2")
    assert group_of("fe80::1%eth0") == group_of("fe80::2")
    assert group_of("") == group_of("testclient") == "unknown"


@pytest.mark.parametrize("wrong", [("ada", ""), ("", "gehéim 赤"), ("Ada", "gehéim 赤"), ("ada", "\ud800")])
def test_what_is_wrong_is_wrong(wrong: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "WRONG_SECONDS", 0.0)
    assert asyncio.run(Login(ADA).attempt(*wrong, "192.0.2.1")) is Answer.WRONG
    assert asyncio.run(Login(Access()).attempt("", "", "192.0.2.1")) is Answer.WRONG


RIGHT = b"username=ada&password=geh%C3%A9im+%E8%B5%A4"


def test_a_session_begins_with_a_cookie_that_others_can_t_send() -> None:
    gate = gate_of()
    answer = post(gate, RIGHT)
    assert (answer.status, answer.body) == (200, b'{"success":true}')
    cookie = answer.header("set-cookie")
    assert set(gate.tokens.values()) == {"ada"}
    assert cookie.startswith(f"session={next(iter(gate.tokens))};")
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Secure" not in cookie
    assert "Secure" in post(gate, RIGHT, scheme="https").header("set-cookie")
    assert "Secure" in post(gate, RIGHT, [FORM, ("x-forwarded-proto", "https")]).header("set-cookie")


def test_on_a_space_the_cookie_crosses_into_the_frame() -> None:
    cookie = post(gate_of(framed=True), RIGHT).header("set-cookie")
    assert all(part in cookie for part in ("SameSite=none", "Secure", "Partitioned", "HttpOnly"))


def test_browsers_get_the_page_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "WRONG_SECONDS", 0.0)
    browser = [FORM, ("accept", "text/html,*/*")]
    right = post(gate_of(), RIGHT, browser)
    assert (right.status, right.header("location")) == (303, "./")
    wrong = post(gate_of(), b"username=%3Cb%3E&password=x", browser)
    assert wrong.status == 400
    assert b'role="alert"' in wrong.body
    assert post(gate_of(), b"username=ada&password=x").status == 400


@pytest.mark.parametrize("body", [b"", b"username=ada", b"\xff" * 100, b"--B\r\n", b"{}"])
def test_what_is_no_login_is_wrong_or_named(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "WRONG_SECONDS", 0.0)
    for kind in (FORM[1], "multipart/form-data; boundary=B", "multipart/form-data", "application/json", ""):
        assert post(gate_of(), body, [("content-type", kind)]).status == 400


def test_a_login_of_megabytes_is_not_read() -> None:
    gate = gate_of()
    for kind in (FORM[1], "multipart/form-data; boundary=B"):
        answer = post(gate, b"x" * 10**6, [("content-type", kind)])
        assert answer.status == 413
    assert not gate.tokens
