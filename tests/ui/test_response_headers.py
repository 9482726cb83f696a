"""Answers are compressed for clients that take it, and streams never wait for that."""

from __future__ import annotations

import asyncio
import gzip
from typing import Any

import pytest

from lora_studio.ui.serving.response_headers import compressed
from tests.support.asgi import Answered, Pair, Sent, answer_to

TEXT = b"<p>the same words again and again</p>" * 100
HOST: Pair = ("host", "localhost:7860")
GZIP: Pair = ("accept-encoding", "gzip, deflate")


def answered(kind: str, body: bytes, *headers: Pair) -> Answered:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        start = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": start})
        await send({"type": "http.response.body", "body": body})

    return asyncio.run(answer_to(compressed(app), Sent(headers=[HOST, *headers])))


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/json", "text/javascript"])
def test_text_is_compressed_for_who_takes_it(kind: str) -> None:
    small = answered(kind, TEXT, GZIP)
    assert small.header("content-encoding") == "gzip"
    assert small.header("content-length") == str(len(small.body))
    assert "accept-encoding" in small.header("vary").lower()
    assert gzip.decompress(small.body) == TEXT
    plain = answered(kind, TEXT)
    assert (plain.header("content-encoding"), plain.body) == ("", TEXT)


@pytest.mark.parametrize(
    ("kind", "body"),
    [("application/octet-stream", TEXT), ("image/png", TEXT), ("application/json", b'{"revision": "x"}')],
)
def test_what_would_not_get_smaller_stays_as_it_is(kind: str, body: bytes) -> None:
    plain = answered(kind, body, GZIP)
    assert (plain.header("content-encoding"), plain.body) == ("", body)


def test_an_event_of_a_stream_is_sent_when_it_comes() -> None:
    sent: list[bytes] = []
    seen: list[int] = []

    async def stream(scope: Any, receive: Any, send: Any) -> None:
        start = [(b"content-type", b"text/event-stream; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": start})
        for _ in range(3):
            await send({"type": "http.response.body", "body": TEXT, "more_body": True})
            seen.append(len(sent))
        await send({"type": "http.response.body", "body": b""})

    async def keep(message: Any) -> None:
        if message["type"] == "http.response.body":
            sent.append(message["body"])

    asyncio.run(compressed(stream)(Sent(headers=[HOST, GZIP]).scope(), None, keep))  # type: ignore[arg-type]
    assert seen == [1, 2, 3]
    assert sent[:3] == [TEXT] * 3
