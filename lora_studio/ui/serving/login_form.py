"""The form that stands in front of the page: its HTML, and what it sends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import HTMLResponse, Response

from lora_studio.errors import StudioError
from lora_studio.store.people.people import SHORTEST_PASSWORD, look_of
from lora_studio.store.people.visitors import LINK, Visitors
from lora_studio.ui.languages.language import language
from lora_studio.ui.languages.translation import translated_markup
from lora_studio.ui.serving import request_bodies
from lora_studio.ui.serving.login import Answer, Login
from lora_studio.ui.serving.request_bodies import Body
from lora_studio.ui.widgets.html_templates import fill

SENT_AWAY = {
    Answer.WRONG: "User name or password is wrong.",
    Answer.TOO_MANY: "Too many wrong passwords are being tried. Try again in a moment.",
}
CLOSED_LINK = "This link is not open any more. Ask for a new one, or log in."
CLOSED_INVITE = "This invite is not open any more. Ask for a new one."
FIELDS = ("username", "password", "invite")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """The outcome of a login: the name that came in, or a sentence and its HTTP status."""

    name: str = ""
    said: str = ""
    status: int = 200
    invite: str = ""
    """The token of an invite that is still open, for another try."""
    at: float = field(default_factory=time.time)
    """The unix time from which the session counts."""


def is_browser(scope: Mapping[str, Any]) -> bool:
    return "text/html" in Headers(scope=dict(scope)).get("accept", "")


async def read_form(scope: Any, receive: Any) -> dict[str, str] | Entry:
    """The fields of a login, or the refusal of what is none."""
    body = Body(receive, request_bodies.LOGIN)
    try:
        form = await Request(scope, body).form(max_files=0, max_fields=10)
        return {name: str(form.get(name, "")) for name in FIELDS}
    except (MultiPartException, HTTPException, ClientDisconnect, ValueError):
        message = body.refused or "User name and password are needed."
        return Entry(said=message, status=413 if body.refused else 400)


async def enter(given: Mapping[str, str], login: Login, visitors: Visitors | None, address: str) -> Entry:
    """Let somebody in by a password, or by an invite, which makes them one of the people."""
    name, password, token = given["username"].strip(), given["password"], given["invite"]
    at = time.time()  # a password that is changed while it is compared lets nobody in
    if not token or visitors is None:
        answer = await login.attempt(name, password, address)
        refusal = SENT_AWAY.get(answer, "")
        return Entry(said=refusal, status=answer.value) if refusal else Entry(name=name, at=at)
    if visitors.invites.find(token) is None:
        return Entry(said=CLOSED_INVITE, status=410)
    if visitors.admin and look_of(name) == look_of(visitors.admin):
        taken = f"Somebody is called {name[:40]} already. Choose another name."
        return Entry(said=taken, status=400, invite=token)
    async with login.place(address) as has_place:
        if not has_place:
            answer = Answer.TOO_MANY
            return Entry(said=SENT_AWAY[answer], status=answer.value, invite=token)
        try:
            await asyncio.to_thread(visitors.invites.accept, token, name, password)
        except StudioError as error:
            is_open = visitors.invites.find(token) is not None
            return Entry(said=str(error), status=400, invite=token if is_open else "")
    return Entry(name=name)


def login_page(target: str, entry: Entry, *, has_hub: bool = False) -> Response:
    """The page that asks for a password, or with an invite for a name and a new one; with `has_hub`, also
    for an account of Hugging Face."""
    facts = {"said": entry.said, "target": target, "invite": entry.invite, "has_hub": has_hub}
    content = fill("login", **facts, language=language(), shortest=SHORTEST_PASSWORD)
    return HTMLResponse(translated_markup(content), entry.status, {"cache-control": "no-store"})


def invited(scope: Any, visitors: Visitors) -> Entry:
    """The entry by an invite, by a read-only link, which has a name at once, or by none."""
    query = HTTPConnection(scope).query_params
    if token := query.get("view", ""):
        link = visitors.invites.open_link(token) if scope["method"] == "GET" else None
        return Entry(name=f"{LINK}{link.id}") if link else Entry(said=CLOSED_LINK, status=410)
    token = query.get("invite", "")
    if not token:
        return Entry()
    is_open = visitors.invites.find(token) is not None
    return Entry(invite=token) if is_open else Entry(said=CLOSED_INVITE, status=410)
