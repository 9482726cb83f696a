"""Rates at the gate: who asks too often is told when to come back, and nobody else suffers for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from lora_studio.ui.serving import gate as gate_module
from lora_studio.ui.serving import rates
from lora_studio.ui.serving.gate import Gate
from lora_studio.ui.serving.login import Access
from lora_studio.ui.serving.rates import Rate, Rates
from lora_studio.ui.serving.request_origin import Names
from tests.support.asgi import Answered, Pair, Sent, answer_to

OPEN, LOCKED = Access(), Access(username="ada", password="correct horse")
LOCAL, SPACE = Names.of("127.0.0.1", anyone=False), Names.of("0.0.0.0", anyone=True, framed=True)
ANYONE = Names.of("0.0.0.0", anyone=True)
RUN, UPLOAD = "/gradio_api/run/list_images", "/gradio_api/upload"
INNER = 222


class Clock:
    """The time as a test has it."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(rates, "time", made)
    monkeypatch.setattr(gate_module, "CALLS", Rate(burst=3, per_second=0.5))
    monkeypatch.setattr(gate_module, "UPLOADS", Rate(burst=1, per_second=0.1))
    return made


async def inside(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": INNER, "headers": []})
    await send({"type": "http.response.body", "body": b"inside"})


def gate_of(access: Access, names: Names) -> Gate:
    made = Gate(access, names)
    made.cookie, made.tokens = "session", {"of-ada": "ada", "of-bob": "bob", "of-ada-too": "ada"}
    return made


def ask(gate: Gate, path: str = RUN, *, token: str = "", client: str = "192.0.2.1") -> Answered:
    headers: Sequence[Pair] = [("host", "localhost:7860"), ("content-type", "application/json")]
    cookies: Sequence[Pair] = [("cookie", f"session={token}")] if token else []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await gate(scope, receive, send, inside)

    sent = Sent(method="POST", path=path, headers=[*headers, *cookies], client=(client, 5000))
    return asyncio.run(answer_to(app, sent))


def test_a_bucket_empties_and_fills_again(clock: Clock) -> None:
    kept = Rates(Rate(burst=3, per_second=0.5))
    assert [kept.take("ada") for _ in range(4)] == [0, 0, 0, 2]
    assert kept.take("bob") == 0
    clock.now += 1
    assert kept.take("ada") == 1
    clock.now += 1
    assert [kept.take("ada"), kept.take("ada")] == [0, 2]
    clock.now += 1000
    assert [kept.take("ada") for _ in range(4)] == [0, 0, 0, 2]


def test_only_so_many_are_remembered(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "MOST_REMEMBERED", 10)
    kept = Rates(Rate(burst=1, per_second=0.5))
    kept.take("ada")
    for number in range(1000):
        kept.take(f"somebody {number}")
        assert kept.take("ada") > 0
    assert len(kept) == 10


def test_a_person_is_told_when_to_come_back_wherever_they_come_from(clock: Clock) -> None:
    gate = gate_of(LOCKED, ANYONE)
    answers = [
        ask(gate, token=token, client=f"192.0.2.{n}")
        for n, token in enumerate(("of-ada", "of-ada", "of-ada-too", "of-ada"))
    ]
    assert [answer.status for answer in answers] == [INNER, INNER, INNER, 429]
    refused = answers[-1]
    assert refused.header("retry-after") == "2"
    told = json.loads(refused.body)
    assert told["error"] == told["detail"]
    assert "2 s" in told["error"]
    assert ask(gate, token="of-bob").status == INNER
    clock.now += 2
    assert ask(gate, token="of-ada").status == INNER


def test_without_a_login_it_is_the_address(clock: Clock) -> None:
    gate = gate_of(OPEN, SPACE)
    assert [ask(gate).status for _ in range(4)] == [INNER, INNER, INNER, 429]
    assert ask(gate, client="192.0.2.2").status == INNER
    six = [ask(gate, client=f"2001:db8::{n}").status for n in range(4)]
    assert six == [INNER, INNER, INNER, 429]


def test_who_sits_at_the_machine_is_not_counted(clock: Clock) -> None:
    gate = gate_of(OPEN, LOCAL)
    assert {ask(gate, client="127.0.0.1").status for _ in range(20)} == {INNER}


def test_uploads_have_a_rate_of_their_own_and_looking_has_none(clock: Clock) -> None:
    gate = gate_of(LOCKED, ANYONE)
    assert [ask(gate, UPLOAD, token="of-ada").status for _ in range(2)] == [INNER, 429]
    assert ask(gate, UPLOAD, token="of-ada").header("retry-after") == "10"
    assert ask(gate, token="of-ada").status == INNER
    assert {ask(gate, "/gradio_api/reset", token="of-ada").status for _ in range(9)} == {INNER}


def test_strangers_are_asked_for_the_password_and_use_up_nobody_s_rate(clock: Clock) -> None:
    gate = gate_of(LOCKED, ANYONE)
    assert {ask(gate).status for _ in range(9)} == {401}
    assert ask(gate, token="of-ada").status == INNER
