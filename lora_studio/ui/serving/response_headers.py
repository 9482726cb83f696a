"""Headers of every answer: who may frame, embed or read it."""

from __future__ import annotations

from collections.abc import Iterable

Pairs = list[tuple[bytes, bytes]]

FRAMES_ON_SPACES = "'self' https://huggingface.co https://*.huggingface.co"
SAME_PLACE = "'self' data: blob:"
COMMON = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
}
DROPPED = b"access-control-"
"""Prefix of headers by which Gradio allows origins; the gate has let in none but our own, which needs no
leave."""


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
