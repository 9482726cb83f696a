"""Real supabase-py clients for one server: ours or the vendor's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Protocol
from uuid import UUID, uuid4

import httpx
from supabase import Client, ClientOptions, create_client

from tests.support.supabase.access import Keys
from tests.support.waiting import PATIENCE


class Serves(Protocol):
    @property
    def url(self) -> str: ...

    @property
    def keys(self) -> Keys: ...


class Clients:
    """One client for each of those who may come: two signed-in users, the secret key, nobody."""

    def __init__(self, server: Serves, stack: ExitStack) -> None:
        self.server, self._stack = server, stack
        self.user_id, self.other_id = uuid4(), uuid4()
        self.user, self.other = self.signed_in(self.user_id), self.signed_in(self.other_id)
        self.service, self.anon = self.with_key(server.keys.service), self.with_key(server.keys.anon)

    def with_key(self, key: str, token: str = "") -> Client:
        own = self._stack.enter_context(httpx.Client(timeout=PATIENCE))
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        options = ClientOptions(
            httpx_client=own,
            headers=headers,
            postgrest_client_retry=False,
            auto_refresh_token=False,
            persist_session=False,
        )
        return create_client(self.server.url, key, options)

    def signed_in(self, user_id: UUID, seconds: float = 3600.0) -> Client:
        """By a token that the server would have given; expired if `seconds` is negative."""
        keys = self.server.keys
        return self.with_key(keys.anon, keys.token(str(user_id), f"{user_id}@example.org", seconds))


@contextmanager
def clients_of(server: Serves) -> Iterator[Clients]:
    with ExitStack() as stack:
        yield Clients(server, stack)
