"""A provider of logins on this machine, as the Hugging Face Hub is one: OpenID's code flow with PKCE."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

CLIENT, SECRET = "the-space", "its secret"


@dataclass
class Account:
    """An account: its name, which may change, and its id, which doesn't."""

    name: str
    subject: str


class HubAccounts(ThreadingHTTPServer):
    """`facts` replaces what is told of an account, `metadata` adds to the provider's addresses."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.facts: Any = None
        self.metadata: dict[str, str] = {}
        self.asked: list[str] = []
        self._codes: dict[str, tuple[dict[str, str], Account]] = {}
        self._tokens: dict[str, Account] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

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


@contextmanager
def hub_accounts() -> Iterator[HubAccounts]:
    with HubAccounts() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class _Answer(BaseHTTPRequestHandler):
    server: HubAccounts
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.path == "/.well-known/openid-configuration":
            names = {"authorization": "authorize", "token": "token", "userinfo": "userinfo"}
            places = {f"{name}_endpoint": f"{self.server.url}/oauth/{path}" for name, path in names.items()}
            self._say(200, {**places, **self.server.metadata})
        elif self.path == "/oauth/userinfo":
            facts = self.server.about(self.headers.get("authorization", ""))
            self._say(200 if facts is not None else 401, facts)
        else:
            self._say(404, {})

    def do_POST(self) -> None:
        self.server.asked.append(self.path)
        body = self.rfile.read(int(self.headers.get("content-length", "0"))).decode()
        form = {name: values[0] for name, values in parse_qs(body).items()}
        token = self.server.token_for(form, self.headers.get("authorization", ""))
        self._say(200 if token else 400, {"access_token": token} if token else {"error": "invalid_grant"})

    def _say(self, status: int, facts: Any) -> None:
        body = json.dumps(facts).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing on the console."""
