"""Logins with an account of the Hugging Face Hub, on a Space whose README says `hf_oauth: true`: OpenID's
code flow with PKCE (RFC 6749, 7636). Gradio's own would stand behind the gate, and needs more packages."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx

from lora_studio.access.roles import Role, given_role
from lora_studio.errors import ConfigError, NotAllowed, StudioError
from lora_studio.settings import HubAccounts
from lora_studio.store.people.invites import TOKEN
from lora_studio.store.people.visitors import Visitors
from lora_studio.ui.serving.login_form import Entry

logger = logging.getLogger(__name__)

BEGIN, CALLBACK = "/login/huggingface", "/login/callback"
COOKIE = "lora-studio-hub-login"
ACCOUNT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,58}")
SUBJECT = re.compile(r"[\x21-\x7e]{1,100}")
OPEN_SECONDS = 600.0
"""Seconds that a login may take at the Hub."""
TIMEOUT = 20.0
LONGEST_ANSWER = 100_000
FAILED = "The login with Hugging Face failed. Try it again."
TOO_LATE = "This login with Hugging Face was begun elsewhere or too long ago. Try it again."


@dataclass(frozen=True, kw_only=True)
class Begun:
    """A login on its way, which began at a unix time. It lies signed in the browser's cookie: what would be
    remembered here, strangers could push out."""

    state: str
    verifier: str
    invite: str
    at: float


class HubLogin:
    """The logins of one Space. Belongs to one event loop. Raises ConfigError for a role that is none."""

    def __init__(self, accounts: HubAccounts, visitors: Visitors) -> None:
        self._accounts, self._visitors = accounts, visitors
        self._role = given_role(accounts.role) if accounts.role else None
        self._key = secrets.token_bytes(32)
        self._places: dict[str, str] = {}

    async def begin(self, invite: str) -> tuple[str, str]:
        """The address at the Hub to go on at, and the cookie's value for `finish`. Raises StudioError."""
        place = (await self._provider())["authorization_endpoint"]
        state, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        kept = invite if TOKEN.fullmatch(invite) else ""
        begun = Begun(state=state, verifier=verifier, invite=kept, at=time.time())
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "response_type": "code",
            "client_id": self._accounts.client_id,
            "redirect_uri": self._accounts.callback,
            "scope": "openid profile",
            "state": state,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return f"{place}?{urlencode(query)}", self._signed(begun)

    async def finish(self, query: Mapping[str, str], browser: str) -> Entry:
        """The entry of who comes back from the Hub."""
        begun = self._begun(browser)
        if begun is None or time.time() - begun.at > OPEN_SECONDS:
            return Entry(said=TOO_LATE, status=400)
        if not hmac.compare_digest(begun.state.encode(), query.get("state", "").encode()):
            return Entry(said=TOO_LATE, status=400)
        if not query.get("code"):
            return Entry(said=FAILED, status=400)  # refused at the Hub
        try:
            account, subject = await self._account(query["code"], begun.verifier)
            name = await asyncio.to_thread(self._let_in, account, subject, begun.invite)
        except StudioError as error:
            return Entry(said=str(error), status=403 if isinstance(error, NotAllowed | ConfigError) else 502)
        return Entry(name=name)

    def _signed(self, begun: Begun) -> str:
        text = base64.urlsafe_b64encode(json.dumps(asdict(begun)).encode()).decode().rstrip("=")
        return f"{text}.{self._signature(text)}"

    def _begun(self, cookie: str) -> Begun | None:
        """The login of a cookie that was signed here."""
        text, _, signature = cookie.partition(".")
        if not hmac.compare_digest(self._signature(text).encode(), signature.encode()):
            return None
        return Begun(**json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))))

    def _signature(self, text: str) -> str:
        return hmac.digest(self._key, text.encode(), "sha256").hex()

    def _let_in(self, account: str, subject: str, invite: str) -> str:
        """The name here of a Hub account, which is one of the people from now on. Raises StudioError."""
        is_owner = account.casefold() == self._accounts.owner.casefold()
        role = Role.ADMIN if is_owner else self._role
        return self._visitors.invites.accept_account(account, subject, role, invite)

    async def _account(self, code: str, verifier: str) -> tuple[str, str]:
        """The account's name and its id, which stays when the name changes. Raises StudioError."""
        provider, accounts = await self._provider(), self._accounts
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": accounts.callback,
            "client_id": accounts.client_id,
            "code_verifier": verifier,
        }
        basic = (accounts.client_id, accounts.client_secret)
        given = await _asked("POST", provider["token_endpoint"], data=form, auth=basic)
        bearer = {"authorization": f"Bearer {given.get('access_token')}"}
        facts = await _asked("GET", provider["userinfo_endpoint"], headers=bearer)
        account, subject = facts.get("preferred_username"), facts.get("sub")
        if not (isinstance(account, str) and ACCOUNT.fullmatch(account)):
            raise StudioError(FAILED)
        if not (isinstance(subject, str) and SUBJECT.fullmatch(subject)):
            raise StudioError(FAILED)
        return account, subject

    async def _provider(self) -> Mapping[str, str]:
        """The Hub's addresses for logins, all of them its own. Raises StudioError."""
        if not self._places:
            top = self._accounts.provider
            facts = await _asked("GET", f"{top}/.well-known/openid-configuration")
            names = ("authorization_endpoint", "token_endpoint", "userinfo_endpoint")
            found = {name: str(facts.get(name)) for name in names}
            if any(urlsplit(place)[:2] != urlsplit(top)[:2] for place in found.values()):
                raise StudioError(FAILED)
            self._places = found
        return self._places


async def _asked(method: str, place: str, **how: Any) -> Mapping[str, Any]:
    """The JSON object that the Hub answers. Raises StudioError."""
    try:
        async with httpx.AsyncClient(timeout=TIMEOUT) as client:
            answer = await client.request(method, place, **how)
        facts = answer.raise_for_status().json() if len(answer.content) <= LONGEST_ANSWER else None
    except httpx.HTTPStatusError as error:
        logger.warning("Hugging Face refused a login: %s", error.response.status_code)
        raise StudioError(FAILED) from error
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        logger.warning("Hugging Face didn't answer a login: %s", type(error).__name__)
        raise StudioError("Hugging Face does not answer just now.", "Try it again in a while.") from error
    if not isinstance(facts, dict):
        raise StudioError(FAILED)
    return facts
