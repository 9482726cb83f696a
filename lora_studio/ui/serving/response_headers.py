"""Headers of every answer: who may frame, embed or read it; and the way by which all answers go out,
compressed for clients that take that."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware
from starlette.types import ASGIApp

from lora_studio.ui.serving.monitoring import Monitoring
from lora_studio.ui.serving.request_bodies import Body

Pairs = list[tuple[bytes, bytes]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

FRAMES_ON_SPACES = "'self' https://huggingface.co https://*.huggingface.co"
SAME_PLACE = "'self' data: blob:"
COMMON = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
}
AS_THEY_ARE = (*DEFAULT_EXCLUDED_CONTENT_TYPES, "application/octet-stream", "image/x-icon")
"""Content types that are not compressed: streams of events, which must not wait for more, pictures, LoRAs."""
SMALLEST, LEVEL = 1024, 5
"""Bytes from which an answer is compressed, and zlib's level: the page's HTML in a fifteenth of its size."""
DROPPED = b"access-control-"
"""Prefix of headers by which Gradio allows origins; the gate lets in none but our own."""


def compressed(app: ASGIApp) -> ASGIApp:
    """An app whose answers are compressed for clients that take gzip.

    The length of a compressed answer tells about its text to who reads the traffic and can put words of his
    own into it (BREACH). Here nobody can: the gate sends requests of other pages away, and no answer holds
    what opens a session, which is in a cookie that scripts can't read.
    """
    return GZipMiddleware(app, SMALLEST, LEVEL, exclude_content_types=AS_THEY_ARE)


def security_headers(*, framed: bool, shared: bool) -> Pairs:
    """The headers of every answer. `framed`: on a Space, which stands inside huggingface.co. `shared`:
    Gradio's share link, whose page loads its program from Gradio's own storage (6.31)."""
    policy = {
        "frame-ancestors": FRAMES_ON_SPACES if framed else "'none'",
        "base-uri": "'self'",
        "object-src": "'none'",
        "form-action": "'self'",
    }
    if not (framed or shared):  # Gradio's page works with scripts in its markup and functions made of text
        policy |= {
            "default-src": SAME_PLACE,
            "script-src": "'self' blob: 'unsafe-inline' 'unsafe-eval'",
            "style-src": "'self' 'unsafe-inline'",
        }
    headers = {
        **COMMON,
        "content-security-policy": "; ".join(f"{key} {value}" for key, value in policy.items()),
    }
    if not framed:
        headers |= {"x-frame-options": "DENY", "cross-origin-opener-policy": "same-origin"}
    return [(name.encode(), value.encode()) for name, value in headers.items()]


def with_security(headers: Iterable[tuple[bytes, bytes]], ours: Pairs) -> Pairs:
    """The headers of an answer with ours in the place of Gradio's."""
    replaced = {b"x-frame-options", *(name for name, _ in ours)}
    return [
        *((n, v) for n, v in headers if n.lower() not in replaced and not n.lower().startswith(DROPPED)),
        *ours,
    ]


class SentAnswer:
    """An ASGI `send` that adds the security headers, and drops Gradio's answer to a body that was cut off."""

    def __init__(self, send: Send, security: Pairs, monitoring: Monitoring | None) -> None:
        self._send, self._security, self._monitoring = send, security, monitoring
        self.body: Body | None = None
        self.begun = self.ended = False
        self._held: list[bytes] | None = None
        self._read: Callable[[bytes], object] = len

    def hold(self, read: Callable[[bytes], object]) -> None:
        """Give the answer's body to a function before the client gets any of it. For small ones."""
        self._held, self._read = [], read

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        if self.body is not None and self.body.refused:
            return
        if message["type"] == "http.response.start":
            self.begun = True
            if self._monitoring:
                self._monitoring.count(message["status"])
            message = {**message, "headers": with_security(message.get("headers", []), self._security)}
        elif message["type"] == "http.response.body":
            self.ended = not message.get("more_body", False)
            if self._held is not None:
                self._held.append(message.get("body", b""))
                if not self.ended:
                    return
                message = {**message, "body": b"".join(self._held)}
                self._read(message["body"])
        await self._send(message)
