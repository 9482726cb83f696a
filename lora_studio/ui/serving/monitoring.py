"""`/healthz` for what starts and restarts the studio, `/metrics` for Prometheus."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, MutableMapping
from functools import cached_property
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, PlainTextResponse, Response

from lora_studio import __version__
from lora_studio.errors import StoreError
from lora_studio.files import has_room
from lora_studio.studio import Studio
from lora_studio.ui.serving.login import Access, Answer, Login

HEALTH, METRICS = "/healthz", "/metrics"
FRESH_SECONDS = 1.0
"""Seconds that an answer of `/healthz` is given again: it is for everybody, so it must cost nothing."""
FRESH = {"cache-control": "no-store"}
NO_TOKEN = "Log in as an admin, or send LORA_STUDIO_METRICS_TOKEN as a bearer token."


class Monitoring:
    """The answers about the studio itself. `closed` says that strangers get in without a login, so that only
    the token opens `/metrics`."""

    def __init__(self, studio: Studio, *, closed: bool = False) -> None:
        self._studio, self._closed = studio, closed
        self._answers: Counter[int] = Counter()
        self._token = Login(Access(username="metrics", password=studio.settings.metrics_token))
        self._health: tuple[float, dict[str, str]] = (0.0, {})

    def count(self, status: int) -> None:
        """Count an HTTP answer."""
        self._answers[status // 100] += 1

    async def response(
        self, scope: MutableMapping[str, Any], path: str, is_admin: Callable[[], bool]
    ) -> Response | None:
        """The answer for a path of this module, None for others. `is_admin`: whether the request needs no
        login, or has an admin's."""
        if scope["method"] not in {"GET", "HEAD"}:
            return None
        if path == HEALTH:
            facts = await run_in_threadpool(self.health)
            return JSONResponse(facts, 200 if facts["status"] == "ok" else 503, FRESH)
        if path != METRICS:
            return None
        if self._closed or not is_admin():
            answer = await self._try_token(scope)
            if answer is not Answer.RIGHT:
                status = 429 if answer is Answer.TOO_MANY else 401
                return PlainTextResponse(NO_TOKEN, status, {"www-authenticate": "Bearer"})
        try:
            text, kind = await run_in_threadpool(self._metrics)
        except StoreError as error:
            return PlainTextResponse(str(error), 503)
        return Response(text, 200, FRESH, kind)

    def _metrics(self) -> tuple[bytes, str]:
        """The numbers in Prometheus' form, and its content type."""
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        return generate_latest(self._registry), CONTENT_TYPE_LATEST

    @cached_property
    def _registry(self) -> Any:
        """Made when somebody asks: the library is no part of the page's start."""
        from lora_studio.ui.serving.metrics import registry

        return registry(self._studio, self._answers)

    def health(self) -> dict[str, str]:
        """The version, and whether database and disk can be used: `status` is `ok` or, without a database,
        `failing`. A disk without room is said and fails nothing: no restart would help."""
        at, facts = self._health
        if facts and time.monotonic() - at < FRESH_SECONDS:
            return facts
        settings = self._studio.settings
        try:
            self._studio.database.read("SELECT count(*) FROM jobs WHERE status = 'running'")
            database = "ok"
        except StoreError:
            database = "failing"
        disk = "ok" if has_room(settings.home, settings=settings) else "full"
        facts = {"status": database, "version": __version__, "database": database, "disk": disk}
        self._health = (time.monotonic(), facts)
        return facts

    async def _try_token(self, scope: MutableMapping[str, Any]) -> Answer:
        kind, _, token = Headers(scope=scope).get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not self._studio.settings.metrics_token:
            return Answer.WRONG
        return await self._token.attempt("metrics", token.strip(), (scope.get("client") or ("",))[0])
