"""The gate in front of everything that is served: page, API, uploads, files. It answers only to this page's
names, sends away requests of other pages, asks for the password before it reads anything, and bounds each
request. Requests that pass go on to Gradio."""

from __future__ import annotations

import logging
import math
import re
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gradio.routes import App, ORJSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response

from lora_studio.access.quotas import Use
from lora_studio.access.roles import Role
from lora_studio.access.visitor import NOBODY, STUDIO, Visitor
from lora_studio.errors import DiskFull, NotAllowed, QuotaReached, StudioError
from lora_studio.files import check_room
from lora_studio.formatting import duration
from lora_studio.store.people.audit_log import OK, UNKNOWN, AuditEntry, AuditLog
from lora_studio.store.people.visitors import Visitors
from lora_studio.ui.client_input.fault_log import one_line
from lora_studio.ui.languages.request_language import in_its_language
from lora_studio.ui.languages.translation import translated
from lora_studio.ui.page import MALFORMED
from lora_studio.ui.page_revision import REVISION, Revisions
from lora_studio.ui.serving import request_bodies, request_origin
from lora_studio.ui.serving.hub_login import BEGIN, CALLBACK, COOKIE, HubLogin
from lora_studio.ui.serving.login import Access, Login, group_of
from lora_studio.ui.serving.login_form import Entry, enter, invited, is_browser, login_page, read_form
from lora_studio.ui.serving.monitoring import Monitoring
from lora_studio.ui.serving.rates import CALLS, UPLOADS, Rates
from lora_studio.ui.serving.request_bodies import Body, Limit, TooMuch, read_small, replayed
from lora_studio.ui.serving.request_origin import Names, is_loopback
from lora_studio.ui.serving.response_headers import SentAnswer, compressed, security_headers
from lora_studio.ui.serving.sessions import Sessions, set_cookie
from lora_studio.ui.serving.visitor_routes import CANCEL, NOT_YOURS, VisitorRoutes

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Served = Callable[[Scope, Receive, Send], Awaitable[None]]

API = "/gradio_api"
VISITED = re.compile(rf"/|{CALLBACK}|{API}/file=.*", re.DOTALL)
"""Paths that a link from elsewhere may lead to."""
BEFORE_LOGIN = frozenset({"/favicon.ico", "/robots.txt", f"{API}/startup-events"})
"""Paths that tell nothing about the studio. Gradio asks itself for the last one while it starts (6.31)."""
POSTED = re.compile(
    rf"{API}/(?:(?P<call>(?:run|api|call|call/v2)/[^/]+/?|queue/join)|(?P<upload>upload)|cancel|reset/?)"
)
"""Paths that may be posted to; Gradio's other routes are for other kinds of apps."""
CLOSED = re.compile(
    rf"/openapi\.json|/monitoring.*|{API}/"
    r"(?:vibe-|undo-vibe|proxy=|file=https?:|dev/|deep_link|runs|run-history|profiling|token|file/|"
    r"stream/|custom_component/|component_server|process_recording).*",
    re.DOTALL | re.IGNORECASE,
)
"""Paths of no use here: Gradio's own description, its proxy, its editor, state on disk, and the session shown
to scripts. Behind `file=` Gradio fetches any address and hands it on as its own, a page with scripts as well
when the address ends like a picture (6.31): whoever runs them is this page to the browser."""
READ = "lora_studio.read"
"""The name in a scope of a body that the gate has read."""
ENDING = {"connection": "close"}
"""Headers of a refusal. The rest of a refused request is not read, so the connection ends with it."""
NOT_THIS_NAME = (
    "This studio does not answer to the name that was asked for. Open it as http://localhost with its port, "
    "or let its owner name it in LORA_STUDIO_HOSTS."
)
FOREIGN = (
    "A page of another address sent this request. If that is a proxy of yours, let it pass on the Host "
    "header, or name it in LORA_STUDIO_HOSTS."
)


class Gate:
    """The gate of one server. `tokens` are the sessions by token, which Gradio asks too, `cookie` the name of
    its cookie, `uploads` the folder that it receives files in, `monitoring` answers about the studio itself.
    `visitors` says who comes under which name, without them only the page's own password leads in; `routes`
    says who may have what; `hub` lets in by accounts of Hugging Face."""

    def __init__(
        self,
        access: Access,
        names: Names,
        *,
        visitors: Visitors | None = None,
        root_path: str = "",
        shared: bool = False,
    ) -> None:
        self._names, self._root = names, urlsplit(root_path).path.rstrip("/")
        self._asks, self._visitors = access.asks, visitors
        self._login = Login(access, visitors.people if visitors else None)
        self._security = security_headers(framed=names.framed, shared=shared)
        self.tokens = Sessions(visitors.is_valid) if visitors else Sessions()
        self.cookie = ""
        self.uploads: Path | None = None
        self.monitoring: Monitoring | None = None
        self.audit: AuditLog | None = None
        self.routes: VisitorRoutes | None = None
        self.hub: HubLogin | None = None
        self.revisions: Revisions | None = None
        self._uploading = 0
        self._rates = {request_bodies.CALL: Rates(CALLS), request_bodies.UPLOAD: Rates(UPLOADS)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send, served: Served) -> None:
        if scope["type"] == "lifespan":
            await served(scope, receive, send)
            return
        facts = request_origin.read(scope["headers"])
        refusal = self._refusal(scope, facts)
        if scope["type"] == "websocket":
            if refusal or not self._has_session(scope):
                await send({"type": "websocket.close", "code": 1008})
            else:
                await served(scope, receive, send)
            return
        answer = SentAnswer(send, self._security, self.monitoring)
        response = refusal or await self._own_response(scope, receive)
        if response is None:
            await self._receive(scope, receive, answer, served)
        else:
            await response(scope, receive, answer)

    def _refusal(self, scope: Scope, facts: dict[str, list[str]]) -> Response | None:
        if not request_origin.has_host(facts):
            return _said(400, "The request names no host, or several.")
        if not request_origin.is_answered(facts, self._names):
            return _said(421, NOT_THIS_NAME)
        if request_origin.is_foreign(facts, self._names):
            path = self._path(scope)
            reads = scope.get("method") in {"GET", "HEAD"}
            if not (reads and VISITED.fullmatch(path) and request_origin.is_visit(facts, self._names)):
                return _said(403, FOREIGN)
        return None

    async def _own_response(self, scope: Scope, receive: Receive) -> Response | None:
        """A response given here, without Gradio; None for a request that goes on."""
        path, method = self._path(scope), scope["method"]
        if method == "POST" and path.rstrip("/") == "/login":
            return await self._log_in(scope, receive)
        if path == "/logout":
            return self._log_out(scope)
        if self.hub and method == "GET" and path in {BEGIN, CALLBACK}:
            return await self._hub_log_in(self.hub, scope, path)
        if self.monitoring:
            found = await self.monitoring.response(scope, path, lambda: self._visitor(scope).may(Role.ADMIN))
            if found is not None:
                return found
        if not self._has_session(scope) and path not in BEFORE_LOGIN:
            if path == "/" and method in {"GET", "HEAD"}:
                return self._front_door(scope)
            detail = {"error": "Not authenticated", "auth_message": None}  # as Gradio's clients know it
            return JSONResponse({"detail": detail}, 401, ENDING)
        if CLOSED.fullmatch(path) or (method not in {"GET", "HEAD"} and not POSTED.fullmatch(path)):
            return _said(404, "There is nothing here.")
        if refusal := self._too_often(scope):
            return refusal
        if self._asks and (refusal := await self._not_theirs(scope, receive)):
            return refusal
        if self.revisions and path == REVISION and method == "GET":
            return await self.revisions.response(self._visitor(scope))
        length, limit = request_bodies.announced(scope), self._limit(scope)
        try:
            request_bodies.check_size(length, limit)
            if length and limit is request_bodies.UPLOAD:
                check_room(request_bodies.upload_disk(), request_bodies.UPLOADED, length)
        except TooMuch as error:
            return _said(413, str(error))
        except DiskFull as error:
            return _said(507, str(error))
        return None

    def _too_often(self, scope: Scope) -> Response | None:
        """The refusal of a call or an upload of somebody who asks too often. Who sits at this machine may."""
        rates = self._rates.get(self._limit(scope))
        if rates is None:
            return None
        address = (scope.get("client") or ("",))[0]
        if not self._asks and not self._names.framed and is_loopback(address):
            return None
        wait = rates.take(f"person {self._name(scope)}" if self._asks else f"address {group_of(address)}")
        if not wait:
            return None
        seconds = math.ceil(wait)
        sentence = f"That is more than is taken from one person at a time. Try again in {duration(seconds)}."
        content = dict.fromkeys(("error", "detail"), translated(sentence))  # Gradio shows one of them
        return JSONResponse(content, 429, {**ENDING, "retry-after": str(seconds)})

    async def _not_theirs(self, scope: Scope, receive: Receive) -> Response | None:
        """The refusal of a route that the visitor may not use, or not for what is somebody else's."""
        if not self._has_session(scope):
            return None
        present, path = self._visitor(scope), self._path(scope)
        is_upload = self._limit(scope) is request_bodies.UPLOAD
        try:
            present.needs(Role.CREATOR if is_upload else Role.VIEWER)
            if is_upload:
                await run_in_threadpool(present.within, Use.DISK, max(1, request_bodies.announced(scope)))
        except QuotaReached as error:
            return _said(507, str(error))
        except NotAllowed as error:
            return _said(403, str(error))
        if self.routes is None:
            return None
        allowed = self.routes.lets(scope, path, present)
        if allowed and scope["method"] == "POST" and path.rstrip("/") == CANCEL:
            scope[READ] = await read_small(receive)
            allowed = self.routes.lets_cancel(scope[READ], present)
        return None if allowed else _said(403, NOT_YOURS)

    async def _receive(self, scope: Scope, receive: Receive, answer: SentAnswer, served: Served) -> None:
        """Serve a request, and remove remains of an upload that broke off: Gradio forgets it (6.31)."""
        is_upload = self._limit(scope) is request_bodies.UPLOAD
        self._uploading += is_upload
        try:
            await self._serve(scope, receive, answer, served)
        finally:
            self._uploading -= is_upload
            if is_upload and not self._uploading and self.uploads:
                for left in self.uploads.glob("tmp*"):
                    with suppress(OSError):
                        left.unlink()  # those that came whole lie in folders

    async def _serve(self, scope: Scope, receive: Receive, answer: SentAnswer, served: Served) -> None:
        """Serve a request; an error inside is a line of the log. Our handlers report their errors themselves;
        an error that arrives here is Gradio at a request that it can't read, or a browser that was closed."""
        content_type = Headers(scope=scope).get("content-type", "")
        source = replayed(scope[READ], receive) if READ in scope else receive
        body = Body(source, self._limit(scope), content_type, disk=request_bodies.upload_disk())
        answer.body = body
        if self.routes and self._limit(scope) is request_bodies.UPLOAD:
            answer.hold(partial(self.routes.claim_uploads, visitor=self._visitor(scope)))
        response = None
        try:
            await served(scope, body, answer)
        except ClientDisconnect:
            logger.debug("%s: the client left", self._path(scope))
        except Exception as error:
            if not body.refused:
                logger.warning("%s failed: %s", self._path(scope)[:100], one_line(error))
                logger.debug("where", exc_info=True)
                response = _said(500, MALFORMED)
        if body.refused:
            answer.body = None
            response = _said(body.status, body.refused)
        if response is not None and not answer.begun:
            await response(scope, receive, answer)
        elif response is not None and not answer.ended:
            await answer({"type": "http.response.body", "body": b""})

    def _limit(self, scope: Scope) -> Limit:
        posted = POSTED.fullmatch(self._path(scope))
        if scope["method"] != "POST" or not posted:
            return request_bodies.NOTHING
        return (
            request_bodies.UPLOAD
            if posted["upload"]
            else request_bodies.CALL
            if posted["call"]
            else request_bodies.NOTHING
        )

    async def _log_in(self, scope: Scope, receive: Receive) -> Response:
        given = await read_form(scope, receive)
        if isinstance(given, Entry):
            return _said(given.status, given.said)
        entry = Entry(name=given["username"])
        if self._asks:
            address = (scope.get("client") or ("",))[0]
            entry = await enter(given, self._login, self._visitors, address)
        return self._let_in(scope, entry)

    def _front_door(self, scope: Scope) -> Response:
        """The question for the password, or the way in by a read-only link."""
        entry = invited(scope, self._visitors) if self._visitors else Entry()
        return self._let_in(scope, entry, deed="link") if entry.name else self._login_page(scope, entry)

    async def _hub_log_in(self, hub: HubLogin, scope: Scope, path: str) -> Response:
        """Both halves of a login at Hugging Face: the way there, and the way back."""
        connection = HTTPConnection(scope)
        if path == CALLBACK:
            entry = await hub.finish(connection.query_params, connection.cookies.get(COOKIE, ""))
            return self._let_in(scope, entry, target="../")
        try:
            place, browser = await hub.begin(connection.query_params.get("invite", ""))
        except StudioError as error:
            return self._login_page(scope, Entry(said=str(error), status=502))
        response = RedirectResponse(place, 302)
        self._set_cookie(scope, response, COOKIE, browser)
        return response

    def _let_in(self, scope: Scope, entry: Entry, *, deed: str = "login", target: str = "./") -> Response:
        """A login's answer: the page with a session, or the question again. `target` is the page's path."""
        if self.audit and self._asks:
            source, deed = (scope.get("client") or ("",))[0], f"failed {deed}" if entry.said else deed
            who = entry.name or UNKNOWN  # what was typed may be a password in the wrong field
            result = str(entry.status) if entry.said else OK
            self.audit.add(AuditEntry(deed=deed, who=who, source=source, result=result))
        is_page = is_browser(scope) or scope["method"] == "GET"
        if entry.said:
            if is_page:
                return self._login_page(scope, entry)
            return JSONResponse({"detail": entry.said}, entry.status)
        response = RedirectResponse(target, 303) if is_page else JSONResponse({"success": True})
        if self._asks:
            token = secrets.token_urlsafe(32)
            self.tokens.begin(token, entry.name, entry.at)
            self._set_cookie(scope, response, self.cookie, token)
        return response

    def _log_out(self, scope: Scope) -> Response:
        """End the request's own session. Gradio's way ends all of a name, which a read-only link shares."""
        name = self._name(scope) if self._asks else ""
        response = RedirectResponse("./", 303)
        self._set_cookie(scope, response, self.cookie, "")
        if name:
            self.tokens.pop(HTTPConnection(scope).cookies[self.cookie], None)
        if name and self.audit:
            source = (scope.get("client") or ("",))[0]
            self.audit.add(AuditEntry(deed="logout", who=name, source=source, result=OK))
        return response

    def _set_cookie(self, scope: Scope, response: Response, name: str, value: str) -> None:
        proxied = Headers(scope=scope).get("x-forwarded-proto", "").partition(",")[0].strip().lower()
        safe = "https" in (scope.get("scheme"), proxied)
        set_cookie(response, name, value, framed=self._names.framed, safe=safe)

    def _has_session(self, scope: Scope) -> bool:
        if not self._asks:
            return True
        return bool(self._name(scope))

    def _name(self, scope: Scope) -> str:
        """The user name of the request's session; empty without one."""
        return self.tokens.get(HTTPConnection(scope).cookies.get(self.cookie, ""), "")

    def _visitor(self, scope: Scope) -> Visitor:
        if not self._asks:
            return STUDIO
        name = self._name(scope)
        if self._visitors is None:
            return Visitor(name=name, role=Role.ADMIN) if name else NOBODY
        return self._visitors.of(name)

    def _login_page(self, scope: Scope, entry: Entry) -> Response:
        path = self._path(scope)
        if path in {BEGIN, CALLBACK}:
            return login_page("../login", entry, has_hub=self.hub is not None)
        target = "./login" if path == "/" else "./" + path.rpartition("/")[2]
        return login_page(target, entry, has_hub=self.hub is not None)

    def _path(self, scope: Scope) -> str:
        """The path without the folder that a proxy serves the page under."""
        path: str = scope["path"]
        inside = self._root and path.startswith(f"{self._root}/")
        return path.removeprefix(self._root) if inside else path


class GatedApp(App):
    """Gradio's app behind the gate, which is outside of a middleware that allows origins, reads bodies."""

    def __init__(self, gate: Gate) -> None:
        super().__init__(
            docs_url=None, redoc_url=None, openapi_url=None, default_response_class=ORJSONResponse
        )
        self._gate, self._gated = gate, compressed(in_its_language(partial(gate, served=super().__call__)))
        self.add_exception_handler(Exception, _unread)

    def configure_app(self, blocks: Any) -> None:
        super().configure_app(blocks)
        self.tokens = self._gate.tokens  # type: ignore[assignment]
        self._gate.uploads = Path(self.uploaded_file_dir)
        self._gate.cookie = f"access-token-unsecure-{self.cookie_id}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._gated(scope, receive, send)


async def _unread(request: Request, error: Exception) -> Response:
    """The response for Starlette, which raises the error again for the gate to log."""
    return _said(500, MALFORMED)


def _said(status: int, sentence: str) -> Response:
    return PlainTextResponse(translated(sentence), status, ENDING)
