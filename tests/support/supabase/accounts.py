"""The part of Supabase Auth that a mirror needs: signing in with email and password."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from threading import Lock
from typing import Any

import jwt

from tests.support.supabase.access import Connections, Keys, Refused

SECONDS = 3600


@dataclass(frozen=True)
class User:
    """An account; `token` is an access token, good for an hour."""

    id: str
    email: str
    password: str
    token: str


class Accounts:
    """Accounts in auth.users. `seconds` is how long an access token is good for; a test may shorten it."""

    def __init__(self, connections: Connections, keys: Keys) -> None:
        self.seconds: float = SECONDS
        self._connections, self._keys = connections, keys
        self._refresh: dict[str, str] = {}
        self._lock = Lock()

    def user(self, email: str) -> User:
        """The account of that address, made at its first mention."""
        with self._connections.transaction() as cursor:
            cursor.execute(
                "insert into auth.users (email, password) values (%s, %s)"
                " on conflict (email) do update set email = excluded.email returning id::text, password",
                (email, secrets.token_urlsafe(12)),
            )
            row = cursor.fetchone() or {}
        return User(row["id"], email, row["password"], self._keys.token(row["id"], email))

    def sign_in(self, grant_type: str, body: dict[str, Any]) -> dict[str, Any]:
        """A session for `password` or `refresh_token`, which is good for one use. Raises Refused."""
        with self._connections.transaction() as cursor:
            if grant_type == "password":
                wanted = (body.get("email"), body.get("password"))
                cursor.execute(
                    "select id::text, email from auth.users where email = %s and password = %s", wanted
                )
            elif grant_type == "refresh_token":
                with self._lock:
                    user_id = self._refresh.pop(str(body.get("refresh_token")), None)
                cursor.execute("select id::text, email from auth.users where id = %s", (user_id,))
            else:
                raise _refused("validation_failed", f"unsupported grant_type {grant_type}")
            row = cursor.fetchone()
        if row is None and grant_type == "password":
            raise _refused("invalid_credentials", "Invalid login credentials")
        if row is None:
            raise _refused("refresh_token_not_found", "Invalid Refresh Token: Refresh Token Not Found")
        return self._session(row["id"], row["email"])

    def whoami(self, token: str) -> dict[str, Any]:
        """The user of an access token. Raises Refused."""
        try:
            claims = self._keys.read(token)
        except jwt.InvalidTokenError as error:
            raise Refused(403, {"code": "bad_jwt", "message": f"invalid JWT: {error}"}) from error
        return _described(claims["sub"], claims["email"])

    def _session(self, user_id: str, email: str) -> dict[str, Any]:
        refresh = secrets.token_urlsafe(12)
        with self._lock:
            self._refresh[refresh] = user_id
        return {
            "access_token": self._keys.token(user_id, email, self.seconds),
            "token_type": "bearer",
            "expires_in": int(self.seconds),
            "expires_at": int(time.time() + self.seconds),
            "refresh_token": refresh,
            "user": _described(user_id, email),
        }


def _described(user_id: str, email: str) -> dict[str, Any]:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {
        **{"id": user_id, "aud": "authenticated", "role": "authenticated", "email": email},
        **{"app_metadata": {"provider": "email"}, "user_metadata": {}, "identities": []},
        **{"created_at": now, "updated_at": now, "email_confirmed_at": now},
    }


def _refused(code: str, message: str) -> Refused:
    return Refused(400, {"code": code, "message": message})
