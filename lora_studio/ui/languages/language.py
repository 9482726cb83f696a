"""The languages of the page, and the one of the request that is being answered."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from http.cookies import CookieError, SimpleCookie

ENGLISH = "en"
LANGUAGES: Mapping[str, str] = {
    ENGLISH: "English",
    "de": "Deutsch",
    "es": "Español",
    "zh-CN": "简体中文",
    "ja": "日本語",
}
"""The languages' own names, by BCP 47 tag, which is also Gradio's name of a locale."""
COOKIE = "lora-studio-language"
"""Cookie that keeps what was chosen on the page. It holds a tag and nothing else."""
HEADER = "x-lora-studio-language"
"""Header by which an open page says its own language, which it keeps when another tab chooses one."""
LONGEST_HEADER, MOST_ASKED = 4000, 20

_spoken: ContextVar[str] = ContextVar("language", default=ENGLISH)


def language() -> str:
    """The tag of the language that is answered in."""
    return _spoken.get()


@contextlib.contextmanager
def speaking(tag: str) -> Iterator[None]:
    """Answer in a language of LANGUAGES; any other is English."""
    token = _spoken.set(tag if tag in LANGUAGES else ENGLISH)
    try:
        yield
    finally:
        _spoken.reset(token)


def asked_language(headers: Mapping[str, str]) -> str:
    """The language of a request: its page's own, the one that was chosen, or the first of its browser's that
    there is. Headers are a stranger's words."""
    for tag in (headers.get(HEADER, ""), _kept(headers.get("cookie", ""))):
        if tag in LANGUAGES:
            return tag
    return _first_accepted(headers.get("accept-language", "")[:LONGEST_HEADER])


def _kept(cookies: str) -> str:
    try:
        morsel = SimpleCookie(cookies[:LONGEST_HEADER]).get(COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel else ""


def _first_accepted(header: str) -> str:
    """The best of an Accept-Language header: `de-AT,de;q=0.9,en;q=0.8`."""
    asked = []
    for place, part in enumerate(header.split(",")[:MOST_ASKED]):
        tag, _, weight = part.strip().partition(";")
        if (quality := _quality(weight)) > 0:
            asked.append((-quality, place, tag.strip().lower()))
    named = (_named(tag) for _, _, tag in sorted(asked))
    return next((tag for tag in named if tag), ENGLISH)


def _quality(weight: str) -> float:
    name, _, value = weight.strip().partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return float(value[:8])
    except ValueError:
        return 0.0


def _named(tag: str) -> str:
    """The tag of ours for a browser's, by the language alone: `de-AT` is `de`, any Chinese the simplified."""
    wanted = tag.partition("-")[0]
    return next((one for one in LANGUAGES if one.partition("-")[0] == wanted), "")
