"""Who a request is from, and a transaction in their name: what stands in front of every route."""

from __future__ import annotations

import hmac
import json
import queue
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import jwt
import psycopg
from psycopg.rows import dict_row

Claims = dict[str, Any]
Cursor = psycopg.Cursor[dict[str, Any]]


class Refused(Exception):
    """An answer other than what was asked for: its HTTP status and body."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(status, body)
        self.status, self.body = status, body


@dataclass(frozen=True)
class Keys:
    """The new kind of keys, which say nothing by themselves; `signing` signs the tokens of users."""

    anon: str = field(default_factory=lambda: f"sb_publishable_{secrets.token_urlsafe(24)}")
    service: str = field(default_factory=lambda: f"sb_secret_{secrets.token_urlsafe(24)}")
    signing: str = field(default_factory=lambda: secrets.token_hex(32))

    def token(self, user_id: str, email: str, seconds: float = 3600.0) -> str:
        """A signed-in user's access token, expired if `seconds` is negative."""
        now = time.time()
        claims = {"sub": user_id, "email": email, "role": "authenticated", "aud": "authenticated"}
        return self.sign({**claims, "iat": int(now), "exp": int(now + seconds)})

    def sign(self, claims: Claims) -> str:
        return jwt.encode(claims, self.signing, algorithm="HS256")

    def read(self, token: str) -> Claims:
        """What `sign` has signed. Raises jwt.InvalidTokenError."""
        return dict(jwt.decode(token, self.signing, algorithms=["HS256"], options={"verify_aud": False}))

    def claims(self, headers: Mapping[str, str]) -> Claims:
        """Role and user of a request, by the key and the token in its headers. Raises Refused as the gateway
        does without a good key; jwt.InvalidTokenError for a bad token."""
        bearer = headers.get("authorization", "").removeprefix("Bearer ").strip()
        key = headers.get("apikey", "")
        if not key:
            hint = "No `apikey` request header or url param was found."
            raise Refused(401, {"message": "No API key found in request", "hint": hint})
        if hmac.compare_digest(key.encode(), self.service.encode()):
            role = "service_role"
        elif hmac.compare_digest(key.encode(), self.anon.encode()):
            role = "anon"
        else:
            raise Refused(401, {"message": "Invalid API key", "hint": "Double check your Supabase `apikey`"})
        return {"role": role} if bearer in ("", key) else self.read(bearer)


class Connections:
    """Connections to one database, kept for the next request. Safe for threads."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._free: queue.LifoQueue[psycopg.Connection[dict[str, Any]]] = queue.LifoQueue()

    @contextmanager
    def transaction(self, claims: Claims | None = None, *, read_only: bool = False) -> Iterator[Cursor]:
        """As the role and user of `claims`; as the superuser, who may do all, without."""
        connection = self._take()
        try:
            with connection.transaction(), connection.cursor() as cursor:
                if read_only:
                    cursor.execute("set transaction read only")
                if claims is not None:
                    become(cursor, claims)
                yield cursor
        except psycopg.OperationalError:
            connection.close()
            raise
        finally:
            if not connection.closed:
                self._free.put(connection)

    def _take(self) -> psycopg.Connection[dict[str, Any]]:
        with suppress(queue.Empty):
            while True:
                connection = self._free.get_nowait()
                if not connection.closed:
                    return connection
        # A prepared statement would outlive a change of the schema.
        return psycopg.connect(self._url, autocommit=True, row_factory=dict_row, prepare_threshold=None)

    def close(self) -> None:
        with suppress(queue.Empty):
            while True:
                self._free.get_nowait().close()


def become(cursor: psycopg.Cursor[Any], claims: Claims) -> None:
    """What PostgREST does first in every transaction."""
    cursor.execute(
        "select set_config('role', %s, true), set_config('request.jwt.claims', %s, true)",
        (claims.get("role", "anon"), json.dumps(claims)),
    )
