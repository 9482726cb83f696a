"""Signing in with email and password, and the keys, through real supabase-py."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest
from postgrest.exceptions import APIError
from supabase_auth.errors import AuthApiError

from tests.support.supabase.clients import Clients
from tests.support.supabase.server import Server


@pytest.fixture
def clients(server: Server) -> Iterator[Clients]:
    with ExitStack() as stack:
        yield Clients(server, stack)


def test_an_account_signs_in_and_writes_as_itself(server: Server, clients: Clients) -> None:
    account = server.user("ada@example.org")
    assert server.user("ada@example.org").id == account.id
    client = clients.anon
    with pytest.raises(APIError):
        client.table("loras").select("id").execute()
    session = client.auth.sign_in_with_password({"email": account.email, "password": account.password})
    assert session.user is not None
    assert session.user.id == account.id
    row = client.table("loras").insert({"name": "Dragon", "slug": "dragon"}).execute().data[0]
    assert row["owner_id"] == account.id
    found = client.auth.get_user()
    assert found is not None
    assert found.user.email == "ada@example.org"


def test_a_refresh_token_is_good_once(server: Server, clients: Clients) -> None:
    account = server.user("bo@example.org")
    client = clients.anon
    first = client.auth.sign_in_with_password({"email": account.email, "password": account.password}).session
    assert first is not None
    assert client.auth.refresh_session(first.refresh_token).session is not None
    with pytest.raises(AuthApiError, match="Refresh Token Not Found"):
        client.auth.refresh_session(first.refresh_token)


def test_a_wrong_password_says_so(server: Server, clients: Clients) -> None:
    account = server.user("cy@example.org")
    with pytest.raises(AuthApiError, match="Invalid login credentials") as caught:
        clients.anon.auth.sign_in_with_password({"email": account.email, "password": "guess"})
    assert (caught.value.status, caught.value.code) == (400, "invalid_credentials")


@pytest.mark.parametrize("headers", [{}, {"apikey": "sb_secret_guess"}, {"Authorization": "Bearer x"}])
def test_without_a_good_key_the_gateway_answers(server: Server, headers: dict[str, str]) -> None:
    answer = httpx.get(f"{server.url}/rest/v1/loras", headers=headers)
    assert answer.status_code == 401
    assert answer.json()["message"] in ("No API key found in request", "Invalid API key")


def test_a_token_that_somebody_else_signed_is_refused(server: Server, clients: Clients) -> None:
    token = server.keys.token(str(clients.user_id), "x@example.org")
    forged = token[:-4] + ("AAAA" if token[-4:] != "AAAA" else "BBBB")
    with pytest.raises(APIError) as caught:
        clients.with_key(server.anon_key, forged).table("loras").select("id").execute()
    assert caught.value.code == "PGRST301"
