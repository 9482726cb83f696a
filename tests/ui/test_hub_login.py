"""Logins with accounts of Hugging Face at the gate, against a provider that speaks HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from lora_studio.access.roles import Role
from lora_studio.errors import ConfigError
from lora_studio.settings import HubAccounts as Accounts
from lora_studio.settings import Settings
from lora_studio.store.database import Database
from lora_studio.store.people.visitors import Visitors
from lora_studio.ui.serving import hub_login
from lora_studio.ui.serving.gate import Gate
from lora_studio.ui.serving.hub_login import BEGIN, CALLBACK, HubLogin
from lora_studio.ui.serving.login import Access
from lora_studio.ui.serving.request_origin import Names
from tests.support.asgi import Answered, Pair, Sent, answer_to
from tests.support.hub_accounts import CLIENT, SECRET, Account, HubAccounts, hub_accounts

HOST = "ada-studio.hf.space"
OWNER, BOB, EVE = Account("Ada", "1"), Account("bob", "2"), Account("eve", "3")
INNER = 222
BACK: list[Pair] = [
    ("sec-fetch-site", "cross-site"),
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-dest", "document"),
]


@pytest.fixture
def hub() -> Iterator[HubAccounts]:
    with hub_accounts() as server:
        yield server


@pytest.fixture
def visitors(database: Database) -> Visitors:
    return Visitors.over(database, admin="studio", is_open=False)


def variables(hub: HubAccounts, **more: str) -> dict[str, str]:
    return {
        "SPACE_ID": "ada/studio",
        "SPACE_HOST": f"{HOST}, studio.example",
        "SPACE_AUTHOR_NAME": "ada",
        "OAUTH_CLIENT_ID": CLIENT,
        "OAUTH_CLIENT_SECRET": SECRET,
        "OAUTH_SCOPES": "openid profile",
        "OPENID_PROVIDER_URL": hub.url,
        **more,
    }


def gate_of(hub: HubAccounts, visitors: Visitors, role: str = "") -> Gate:
    access = Access(username="studio", password="correct horse", people=True)
    made = Gate(access, Names.of("0.0.0.0", anyone=True, framed=True), visitors=visitors)
    accounts = Settings.from_environment(variables(hub, LORA_STUDIO_HUB_ROLE=role)).hub_accounts
    assert accounts is not None
    made.cookie, made.hub = "session", HubLogin(accounts, visitors)
    return made


async def inside(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": INNER, "headers": []})
    await send({"type": "http.response.body", "body": b"inside"})


def ask(gate: Gate, path: str, *headers: Pair) -> Answered:
    path, _, query = path.partition("?")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await gate({**scope, "query_string": query.encode()}, receive, send, inside)

    return asyncio.run(answer_to(app, Sent(path=path, headers=[("host", HOST), *headers])))


def cookie_of(answer: Answered) -> Pair:
    return ("cookie", answer.header("set-cookie").partition(";")[0])


def go(gate: Gate, hub: HubAccounts, account: Account, invite: str = "") -> Answered:
    """The whole way there and back."""
    begun = ask(gate, f"{BEGIN}?invite={invite}")
    assert begun.status == 302
    query = hub.agree(begun.header("location"), account)
    return ask(gate, f"{CALLBACK}?{query}", cookie_of(begun), *BACK)


def name_in(gate: Gate, answer: Answered) -> str:
    assert answer.status == 303, answer.body
    assert ask(gate, "/config", cookie_of(answer)).status == INNER
    return str(gate.tokens[cookie_of(answer)[1].partition("=")[2]])


def test_the_variables_of_a_space_turn_it_on(visitors: Visitors) -> None:
    with hub_accounts() as server:
        given = variables(server)
    found = Settings.from_environment(given).hub_accounts
    assert found == Accounts(
        provider=given["OPENID_PROVIDER_URL"],
        client_id=CLIENT,
        client_secret=SECRET,
        callback=f"https://{HOST}/login/callback",
        owner="ada",
    )
    assert SECRET not in repr(found)
    for name in ("SPACE_ID", "SPACE_HOST", "OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET", "OPENID_PROVIDER_URL"):
        assert Settings.from_environment({**given, name: ""}).hub_accounts is None
    wrong = Settings.from_environment({**given, "LORA_STUDIO_HUB_ROLE": "king"}).hub_accounts
    assert wrong is not None
    with pytest.raises(ConfigError):
        HubLogin(wrong, visitors)


def test_the_owner_of_the_space_is_an_admin(hub: HubAccounts, visitors: Visitors) -> None:
    gate = gate_of(hub, visitors)
    assert name_in(gate, go(gate, hub, OWNER)) == "Ada@hf"
    assert visitors.of("Ada@hf").role is Role.ADMIN
    visitors.people.set_role("Ada@hf", Role.VIEWER)
    name_in(gate, go(gate, hub, OWNER))
    assert visitors.of("Ada@hf").role is Role.ADMIN


def test_others_come_in_as_the_owner_s_variable_says(hub: HubAccounts, visitors: Visitors) -> None:
    refused = go(gate_of(hub, visitors), hub, BOB)
    assert (refused.status, refused.header("set-cookie")) == (403, "")
    assert b"not invited" in refused.body
    assert b'action="../login"' in refused.body
    assert visitors.of("bob@hf").role is None
    gate = gate_of(hub, visitors, "creator")
    assert name_in(gate, go(gate, hub, BOB)) == "bob@hf"
    assert visitors.of("bob@hf").role is Role.CREATOR
    visitors.people.set_role("bob@hf", Role.TRAINER)
    name_in(gate, go(gate, hub, BOB))
    assert visitors.of("bob@hf").role is Role.TRAINER


def test_an_invite_lets_an_account_in_once(hub: HubAccounts, visitors: Visitors) -> None:
    gate = gate_of(hub, visitors)
    invite, token = visitors.invites.make(Role.TRAINER)
    asked = ask(gate, f"/?invite={token}")
    assert f"./login/huggingface?invite={token}".encode() in asked.body
    assert name_in(gate, go(gate, hub, BOB, token)) == "bob@hf"
    assert visitors.of("bob@hf").role is Role.TRAINER
    assert visitors.invites.get(invite.id).used == 1
    assert go(gate, hub, EVE, token).status == 403
    assert go(gate, hub, BOB, token).status == 303  # is here already


def test_an_account_is_its_id_and_a_name_is_nobody_else_s(hub: HubAccounts, visitors: Visitors) -> None:
    gate = gate_of(hub, visitors, "creator")
    name_in(gate, go(gate, hub, BOB))
    assert name_in(gate, go(gate, hub, Account("robert", BOB.subject))) == "bob@hf"
    assert go(gate, hub, Account("bob", "another-id")).status == 403
    visitors.people.add("eve", Role.ADMIN, "battery staple")
    assert name_in(gate, go(gate, hub, EVE)) == "eve@hf"
    assert visitors.of("eve@hf").role is Role.CREATOR
    with pytest.raises(ConfigError):
        visitors.people.add("mallory@HF", Role.VIEWER, "battery staple")
    for password in ("", "battery staple"):
        assert not visitors.people.knows("eve@hf", password)


def test_only_the_browser_that_began_comes_back_and_only_once(hub: HubAccounts, visitors: Visitors) -> None:
    gate = gate_of(hub, visitors, "creator")
    begun, other = ask(gate, BEGIN), ask(gate, BEGIN)
    for cookies in ([], [cookie_of(other)]):
        query = hub.agree(ask(gate, BEGIN).header("location"), BOB)
        refused = ask(gate, f"{CALLBACK}?{query}", *cookies)
        assert (refused.status, refused.header("set-cookie")) == (400, "")
    query = hub.agree(begun.header("location"), BOB)
    assert ask(gate, f"{CALLBACK}?{query}", cookie_of(begun)).status == 303
    assert ask(gate, f"{CALLBACK}?{query}", cookie_of(begun)).status == 502  # the Hub takes a code once
    for query in ("", "code=x", "state=x&code=y", "error=access_denied"):
        assert ask(gate, f"{CALLBACK}?{query}", cookie_of(begun)).status == 400


def test_a_login_that_is_on_its_way_ends_with_time_and_by_nobody_else(
    hub: HubAccounts, visitors: Visitors, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = gate_of(hub, visitors, "creator")
    begun = ask(gate, BEGIN)
    for _ in range(1100):
        ask(gate, BEGIN)
    query = hub.agree(begun.header("location"), BOB)
    assert ask(gate, f"{CALLBACK}?{query}", cookie_of(begun)).status == 303
    late = ask(gate, BEGIN)
    query = hub.agree(late.header("location"), BOB)
    monkeypatch.setattr(hub_login, "OPEN_SECONDS", -1.0)
    assert ask(gate, f"{CALLBACK}?{query}", cookie_of(late)).status == 400


@pytest.mark.parametrize("cookie", ["", ".", "x", "x.", "e30.x", "\xe9.\xe9", "e30", "." * 4000])
def test_a_cookie_that_was_not_made_here_lets_nobody_in(
    cookie: str, hub: HubAccounts, visitors: Visitors
) -> None:
    gate = gate_of(hub, visitors, "creator")
    query = hub.agree(ask(gate, BEGIN).header("location"), BOB)
    given = ("cookie", f"{hub_login.COOKIE}={cookie}")
    assert ask(gate, f"{CALLBACK}?{query}", given).status == 400


def test_a_cookie_is_its_own_gate_s(hub: HubAccounts, visitors: Visitors) -> None:
    gate, other = (gate_of(hub, visitors, "creator") for _ in range(2))
    begun = ask(other, BEGIN)
    query = hub.agree(begun.header("location"), BOB)
    assert ask(gate, f"{CALLBACK}?{query}", cookie_of(begun)).status == 400
    assert ask(other, f"{CALLBACK}?{query}", cookie_of(begun)).status == 303


@pytest.mark.parametrize(
    "facts",
    [
        {},
        [],
        "x",
        {"sub": "2"},
        {"sub": 2, "preferred_username": "bob"},
        {"sub": "2", "preferred_username": "b/c"},
    ],
)
def test_an_answer_that_names_nobody_lets_nobody_in(facts: Any, hub: HubAccounts, visitors: Visitors) -> None:
    hub.facts = facts
    refused = go(gate_of(hub, visitors, "creator"), hub, BOB)
    assert (refused.status, refused.header("set-cookie")) == (502, "")
    assert visitors.people.all() == []


def test_a_code_that_is_none_lets_nobody_in(hub: HubAccounts, visitors: Visitors) -> None:
    gate = gate_of(hub, visitors, "creator")
    begun = ask(gate, BEGIN)
    state = hub.agree(begun.header("location"), BOB).partition("&")[2]
    assert ask(gate, f"{CALLBACK}?code=made-up&{state}", cookie_of(begun)).status == 502
    assert visitors.people.all() == []


def test_addresses_of_somebody_else_are_not_asked(hub: HubAccounts, visitors: Visitors) -> None:
    hub.metadata = {"token_endpoint": "https://localhost/token"}
    refused = ask(gate_of(hub, visitors), BEGIN)
    assert refused.status == 502
    assert b"failed" in refused.body


def test_a_hub_that_is_away_is_a_sentence(visitors: Visitors) -> None:
    with hub_accounts() as server:
        gate = gate_of(server, visitors)
    refused = ask(gate, BEGIN)
    assert refused.status == 502
    assert b"does not answer" in refused.body


def test_without_the_variables_there_is_no_such_way(visitors: Visitors) -> None:
    access = Access(username="studio", password="correct horse")
    gate = Gate(access, Names.of("0.0.0.0", anyone=True), visitors=visitors)
    gate.cookie = "session"
    assert b"huggingface" not in ask(gate, "/").body
    for path in (BEGIN, CALLBACK):
        assert ask(gate, path).status == 401
