"""Requests to an ASGI app without a server or a client: nothing about them is put right on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

Pair = tuple[str, str]


@dataclass
class Answered:
    """What came back. `read` are the bytes of the body that were asked for."""

    status: int = 0
    headers: list[Pair] = field(default_factory=list)
    body: bytes = b""
    read: int = 0

    def header(self, name: str) -> str:
        return ", ".join(value for key, value in self.headers if key == name)


@dataclass(frozen=True, kw_only=True)
class Sent:
    """One request. `chunks` is the body in pieces; without `length` none is announced."""

    method: str = "GET"
    path: str = "/"
    headers: Sequence[Pair] = (("host", "localhost:7860"),)
    chunks: Iterable[bytes] = ()
    client: tuple[str, int] = ("127.0.0.1", 50000)
    scheme: str = "http"
    kind: str = "http"

    def scope(self) -> dict[str, Any]:
        return {
            "type": self.kind,
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": self.method,
            "scheme": self.scheme,
            "path": self.path,
            "raw_path": self.path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in self.headers],
            "client": self.client,
            "server": ("127.0.0.1", 7860),
        }


async def answer_to(app: Callable[[Any, Any, Any], Awaitable[None]], sent: Sent) -> Answered:
    answered = Answered()
    left = iter(sent.chunks)

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0)
        chunk = next(left, None)
        if chunk is None:
            return {"type": "http.request", "body": b"", "more_body": False}
        answered.read += len(chunk)
        return {"type": "http.request", "body": chunk, "more_body": True}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            answered.status = message["status"]
            answered.headers = [(k.decode(), v.decode()) for k, v in message.get("headers", [])]
        elif message["type"] == "http.response.body":
            answered.body += message.get("body", b"")
        elif message["type"] == "websocket.close":
            answered.status = message["code"]
        elif message["type"] == "websocket.accept":
            answered.status = 101

    await app(sent.scope(), receive, send)
    return answered
