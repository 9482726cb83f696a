"""A provider of logins on this machine, as the Hugging Face Hub is one: OpenID's code flow with PKCE."""

from __future__ import annotations

import base64
import hashlib
import secrets
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.local_server import JsonAnswer, LocalServer, serving

CLIENT, SECRET = "the-space", "its secret"


@dataclass
class Account:
    """An account: its name, which may change, and its id, which doesn't."""

    name: str
    subject: str


class HubAccounts(LocalServer):
    """`facts` replaces what is told of an account, `metadata` adds to the provider's addresses."""

    def __init__(self) -> None:
        super().__init__(_Answer)
        self.facts: Any = None
        self.metadata: dict[str, str] = {}
        self.asked: list[str] = []
        self._codes: dict[str, tuple[dict[str, str], Account]] = {}
        self._tokens: dict[str, Account] = {}

    def agree(self, address: str, account: Account) -> str:
        """The query with which an account that agrees is sent back from an address of `authorize`."""
        query = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        assert address.startswith(f"{self.url}/oauth/authorize?")
        assert query["response_type"] == "code"
        assert query["client_id"] == CLIENT
        assert query["code_challenge_method"] == "S256"
        assert "openid" in query["scope"].split()
        code = secrets.token_hex(8)
        self._codes[code] = (query, account)
        return f"code={code}&state={query['state']}"

    def token_for(self, form: dict[str, str], authorization: str) -> str:
        """A token for a code, once; empty when anything about it is wrong."""
        query, account = self._codes.pop(form.get("code", ""), ({}, None))
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        basic = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        if (
            account is None
            or authorization != f"Basic {basic}"
            or base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != query["code_challenge"]
            or form.get("redirect_uri") != query["redirect_uri"]
            or form.get("grant_type") != "authorization_code"
        ):
            return ""
        token = secrets.token_hex(8)
        self._tokens[token] = account
        return token

    def about(self, authorization: str) -> Any:
        """What is told of the account of a token; None for none."""
        account = self._tokens.get(authorization.removeprefix("Bearer "))
        if account is None or self.facts is not None:
            return self.facts if account else None
        return {"sub": account.subject, "preferred_username": account.name, "name": "Somebody"}


def hub_accounts() -> AbstractContextManager[HubAccounts]:
    return serving(HubAccounts())


class _Answer(JsonAnswer):
    server: HubAccounts

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.path == "/.well-known/openid-configuration":
            names = {"authorization": "authorize", "token": "token", "userinfo": "userinfo"}
            places = {f"{name}_endpoint": f"{self.server.url}/oauth/{path}" for name, path in names.items()}
            self.say(200, {**places, **self.server.metadata})
        elif self.path == "/oauth/userinfo":
            facts = self.server.about(self.headers.get("authorization", ""))
            self.say(200 if facts is not None else 401, facts)
        else:
            self.say(404, {})

    def do_POST(self) -> None:
        self.server.asked.append(self.path)
        body = self.rfile.read(int(self.headers.get("content-length", "0"))).decode()
        form = {name: values[0] for name, values in parse_qs(body).items()}
        token = self.server.token_for(form, self.headers.get("authorization", ""))
        self.say(200 if token else 400, {"access_token": token} if token else {"error": "invalid_grant"})
