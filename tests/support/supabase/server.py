"""Our own small Supabase for tests: Data API, Storage and sign-in over a real PostgreSQL, in a thread.

What it answers was observed on the vendor's servers or is in their documentation (docs/supabase.md says
which); what it does not know it refuses.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import psycopg
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.support.serving import free_port
from tests.support.supabase import rest
from tests.support.supabase.access import Claims, Connections, Keys, Refused
from tests.support.supabase.accounts import Accounts, User
from tests.support.supabase.resumable import VERSION, Resumable
from tests.support.supabase.storage import Objects, Upload, storage_error
from tests.support.waiting import PATIENCE

START_SECONDS = PATIENCE
Work = Callable[..., Response]


async def _serve(server: uvicorn.Server) -> None:
    """Until it is told to stop. Connections that clients keep open are closed before the loop ends: uvicorn
    alone may leave that to the garbage collection, which warns."""
    await server.serve()
    for connection in list(server.server_state.connections):
        if connection.transport is not None:
            connection.transport.abort()
    await asyncio.sleep(0.01)


class Server:
    """Runs between `start` and `stop`; what it keeps and where it listens stays the same over an outage."""

    def __init__(self, database: str, folder: Path) -> None:
        self.keys = Keys()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._connections = Connections(database)
        self.accounts = Accounts(self._connections, self.keys)
        self.objects = Objects(self._connections, self.keys, folder)
        self.resumable = Resumable(self.objects)
        self._uvicorn: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def service_key(self) -> str:
        return self.keys.service

    @property
    def anon_key(self) -> str:
        return self.keys.anon

    def user(self, email: str) -> User:
        """An account with that address: its id, password and an access token."""
        return self.accounts.user(email)

    def start(self) -> None:
        config = uvicorn.Config(
            Starlette(routes=self._routes()),
            host="127.0.0.1",
            port=self.port,
            log_config=None,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=1,
        )
        self._uvicorn = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=asyncio.run, args=(_serve(self._uvicorn),), name="supabase for tests", daemon=True
        )
        self._thread.start()
        give_up = time.monotonic() + START_SECONDS
        while not self._uvicorn.started:
            if not self._thread.is_alive() or time.monotonic() > give_up:
                raise RuntimeError("the server for the Supabase tests does not start")
            time.sleep(0.01)

    def stop(self) -> None:
        """Nobody listens at the port any more."""
        if self._uvicorn is not None and self._thread is not None:
            self._uvicorn.should_exit = True
            self._thread.join(START_SECONDS)
            self._uvicorn = self._thread = None

    def close(self) -> None:
        self.stop()
        self._connections.close()

    def _routes(self) -> list[Route]:
        tus = "/storage/v1/upload/resumable"
        return [
            Route("/rest/v1/rpc/{name}", self._at(self._call), methods=["POST"]),
            Route("/rest/v1/{name}", self._at(self._table), methods=["GET", "POST", "PATCH", "DELETE"]),
            Route("/storage/v1/bucket", self._at(self._buckets), methods=["GET"]),
            Route("/storage/v1/bucket/{bucket}", self._at(self._buckets), methods=["GET"]),
            Route("/storage/v1/object/list/{bucket}", self._at(self._list), methods=["POST"]),
            Route("/storage/v1/object/info/{bucket}/{key:path}", self._at(self._info), methods=["GET"]),
            Route("/storage/v1/object/sign/{bucket}/{key:path}", self._at(self._sign), methods=["POST"]),
            Route("/storage/v1/object/sign/{bucket}/{key:path}", self._open(self._signed), methods=["GET"]),
            Route("/storage/v1/object/{bucket}", self._at(self._remove), methods=["DELETE"]),
            Route("/storage/v1/object/{bucket}/{key:path}", self._at(self._get), methods=["GET"]),
            Route("/storage/v1/object/{bucket}/{key:path}", self._at(self._put), methods=["POST", "PUT"]),
            Route(tus, self._at(self._tus_create, plain=True), methods=["POST"]),
            Route(tus + "/{number}", self._at(self._tus, plain=True), methods=["HEAD", "PATCH"]),
            Route("/auth/v1/token", self._open(self._token), methods=["POST"]),
            Route("/auth/v1/user", self._open(self._whoami), methods=["GET"]),
            Route("/auth/v1/logout", self._open(self._logout), methods=["POST"]),
        ]

    def _at(self, work: Work, *, plain: bool = False) -> Callable[[Request], Any]:
        """A route whose work runs in a thread, in the name of who asks. With `plain` its errors are text."""

        async def answer(request: Request) -> Response:
            is_file = request.headers.get("content-type", "").startswith("multipart/")
            body = await _upload(request) if is_file else await request.body()
            answered = await run_in_threadpool(self._answer, work, request, body)
            return _as_text(answered) if plain and answered.status_code >= 400 else answered

        return answer

    def _open(self, work: Work) -> Callable[[Request], Any]:
        """A route that asks for no key or looks at it itself."""

        async def answer(request: Request) -> Response:
            body = await request.body()
            return await run_in_threadpool(_caught, lambda: work(request, body))

        return answer

    def _answer(self, work: Work, request: Request, body: Any) -> Response:
        try:
            claims = self.keys.claims(request.headers)
        except Refused as refused:
            return JSONResponse(refused.body, refused.status)
        except jwt.InvalidTokenError as error:
            if request.url.path.startswith("/storage/"):
                body = {"statusCode": "403", "error": "Unauthorized", "message": str(error)}
                return JSONResponse(body, 400)
            code = "PGRST303" if isinstance(error, jwt.ExpiredSignatureError) else "PGRST301"
            message = "JWT expired" if code == "PGRST303" else str(error)
            return JSONResponse({"code": code, "message": message, "details": None, "hint": None}, 401)
        return _caught(lambda: work(request, body, claims), str(claims.get("role", "anon")))

    def _table(self, request: Request, body: bytes, claims: Claims) -> Response:
        ask = _ask(request, body)
        with self._connections.transaction() as cursor:
            columns = rest.columns_of(cursor, ask.name)
        with self._connections.transaction(claims, read_only=request.method in ("GET", "HEAD")) as cursor:
            answer = rest.answer(cursor, ask, columns)
        headers = {"content-range": answer.content_range} if answer.content_range else {}
        content = b"" if request.method == "HEAD" else answer.body.encode()
        return Response(content, answer.status, headers, "application/json")

    def _call(self, request: Request, body: bytes, claims: Claims) -> Response:
        with self._connections.transaction(claims) as cursor:
            answer = rest.call(cursor, _ask(request, body))
        return Response(answer.body, answer.status, media_type="application/json")

    def _buckets(self, request: Request, _: bytes, claims: Claims) -> Response:
        found = self.objects.buckets(claims, request.path_params.get("bucket", ""))
        return JSONResponse(found[0] if "bucket" in request.path_params else found)

    def _put(self, request: Request, form: Any, claims: Claims) -> Response:
        if not isinstance(form, dict):
            raise storage_error(400, "InvalidRequest", "this server takes multipart uploads only")
        headers = request.headers
        upsert = request.method == "PUT" or headers.get("x-upsert") == "true"
        return JSONResponse(self.objects.put(claims, Upload(**_place(request), **form, upsert=upsert)))

    def _get(self, request: Request, _: bytes, claims: Claims) -> Response:
        return _bytes(request, *self.objects.get(claims, **_place(request)))

    def _info(self, request: Request, _: bytes, claims: Claims) -> Response:
        return JSONResponse(self.objects.info(claims, **_place(request)))

    def _list(self, request: Request, body: bytes, claims: Claims) -> Response:
        return JSONResponse(self.objects.entries(claims, request.path_params["bucket"], json.loads(body)))

    def _remove(self, request: Request, body: bytes, claims: Claims) -> Response:
        keys = json.loads(body)["prefixes"]
        return JSONResponse(self.objects.remove(claims, request.path_params["bucket"], keys))

    def _sign(self, request: Request, body: bytes, claims: Claims) -> Response:
        seconds = int(json.loads(body)["expiresIn"])
        return JSONResponse({"signedURL": self.objects.sign(claims, **_place(request), seconds=seconds)})

    def _signed(self, request: Request, _: bytes) -> Response:
        token = request.query_params.get("token", "")
        return _bytes(request, *self.objects.get_signed(**_place(request), token=token))

    def _tus_create(self, request: Request, _: bytes, claims: Claims) -> Response:
        number = self.resumable.create(claims, request.headers)
        location = f"{self.url}/storage/v1/upload/resumable/{number}"
        return Response(status_code=201, headers={**VERSION, "Location": location})

    def _tus(self, request: Request, body: bytes, claims: Claims) -> Response:
        number = request.path_params["number"]
        if request.method == "HEAD":
            received, length = self.resumable.state(number)
            known = {
                "Upload-Offset": str(received),
                "Upload-Length": str(length),
                "Cache-Control": "no-store",
            }
            return Response(headers={**VERSION, **known})
        received = self.resumable.append(claims, request.headers, number, body)
        return Response(status_code=204, headers={**VERSION, "Upload-Offset": str(received)})

    def _token(self, request: Request, body: bytes) -> Response:
        self.keys.claims({"apikey": request.headers.get("apikey", "")})
        grant_type = request.query_params.get("grant_type", "")
        return JSONResponse(self.accounts.sign_in(grant_type, json.loads(body)))

    def _whoami(self, request: Request, _: bytes) -> Response:
        return JSONResponse(self.accounts.whoami(_bearer(request)))

    def _logout(self, request: Request, _: bytes) -> Response:
        self.accounts.whoami(_bearer(request))
        return Response(status_code=204)


def _caught(work: Callable[[], Response], role: str = "anon") -> Response:
    try:
        return work()
    except Refused as refused:
        answer = refused
    except psycopg.Error as error:
        answer = rest.database_error(error, role)
    # Sign-in tells its errors by a code since this version of its API.
    return JSONResponse(answer.body, answer.status, {"x-supabase-api-version": "2024-01-01"})


def _as_text(answered: Response) -> Response:
    """An error of the resumable uploads: the true status, and only the message."""
    told = json.loads(bytes(answered.body))
    status = int(told.get("statusCode", answered.status_code))
    return Response(f"{told['message']}\n", status, VERSION, "text/plain")


def _ask(request: Request, body: bytes) -> rest.Ask:
    try:
        read = json.loads(body) if body else None
    except ValueError as error:
        message = "Empty or invalid json"
        raise Refused(400, {"code": "PGRST102", "message": message, "details": None, "hint": None}) from error
    query = list(request.query_params.multi_items())
    return rest.Ask(request.method, request.path_params["name"], query, request.headers, read)


async def _upload(request: Request) -> dict[str, Any]:
    """The one file of a multipart body with its type, and what was said beside it."""
    async with request.form() as form:
        file = next(value for value in form.values() if not isinstance(value, str))
        said = form.get("metadata")
        return {
            "content": await file.read(),
            "content_type": file.content_type or "application/octet-stream",
            "cache_control": f"max-age={form.get('cacheControl', '3600')}",
            "metadata": json.loads(said) if isinstance(said, str) else None,
        }


def _place(request: Request) -> dict[str, str]:
    return {"bucket": request.path_params["bucket"], "key": request.path_params["key"]}


def _bearer(request: Request) -> str:
    return request.headers.get("authorization", "").removeprefix("Bearer ")


def _bytes(request: Request, content: bytes, facts: dict[str, Any]) -> Response:
    """The object, or the part of it that a Range header names."""
    headers = {"etag": facts["eTag"], "cache-control": facts["cacheControl"], "accept-ranges": "bytes"}
    if "download" in request.query_params:
        headers["content-disposition"] = f'attachment; filename="{request.query_params["download"]}"'
    first, dash, last = request.headers.get("range", "").removeprefix("bytes=").partition("-")
    if not dash or not first:
        return Response(content, headers=headers, media_type=facts["mimetype"])
    start, end = int(first), min(int(last or len(content) - 1), len(content) - 1)
    headers["content-range"] = f"bytes {start}-{end}/{len(content)}"
    return Response(content[start : end + 1], 206, headers, facts["mimetype"])
