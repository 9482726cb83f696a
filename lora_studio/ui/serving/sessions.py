"""Sessions of a page by token, in the form of the table that Gradio looks logins up in. They live in memory
and end with the page, after a time, and when the person or all sessions are revoked."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass

from starlette.responses import Response

from lora_studio.errors import StoreError

LONGEST_SECONDS, IDLE_SECONDS = 30 * 86_400.0, 7 * 86_400.0
"""Seconds after which a session is over: from its beginning, and from its last use."""
MOST_SESSIONS, MOST_OF_ONE = 5000, 100
"""Sessions in all, and under one name, which a read-only link shares among all who open it; the one that was
used longest ago goes."""
Valid = Callable[[str, float], bool]
"""Whether sessions of a name that began at a unix time still count."""


@dataclass(kw_only=True)
class Session:
    """A login: unix times of its beginning and its last use."""

    name: str
    begun_at: float
    used_at: float


def set_cookie(response: Response, name: str, value: str, *, framed: bool, safe: bool) -> None:
    """Set a cookie that other pages can't send along, or with an empty value drop it. Where the page is
    `framed`, as on a Space, it has to cross into the frame; there Origin and Sec-Fetch-Site alone decide.
    `safe` is whether the browser came by HTTPS."""
    response.set_cookie(
        name,
        value,
        max_age=None if value else 0,
        path="/",
        httponly=True,
        secure=safe or framed,
        samesite="none" if framed else "lax",
    )
    if framed:
        response.headers["set-cookie"] += "; Partitioned"


class Sessions(MutableMapping[str, str]):
    """The user name by token. A token whose session is over is gone."""

    def __init__(self, is_valid: Valid = lambda name, begun_at: True) -> None:
        self._is_valid, self._lock = is_valid, threading.Lock()
        self._kept: dict[str, Session] = {}

    def __getitem__(self, token: str) -> str:
        with self._lock:
            session = self._kept.get(token)
        try:
            counts = session is not None and self._counts(session)
        except StoreError as error:  # it may be valid; for now nobody can say
            raise KeyError(token) from error
        if session is None or not counts:
            with self._lock:
                self._kept.pop(token, None)
            raise KeyError(token)
        session.used_at = time.time()
        return session.name

    def __setitem__(self, token: str, name: str) -> None:
        self.begin(token, name, time.time())

    def begin(self, token: str, name: str, at: float) -> None:
        """Begin a session as of a unix time: what is revoked after it ends the session."""
        with self._lock:
            self._kept[token] = Session(name=name, begun_at=at, used_at=time.time())
            of_one = [one for one, session in self._kept.items() if session.name == name]
            self._drop_oldest(of_one, MOST_OF_ONE)
            self._drop_oldest(list(self._kept), MOST_SESSIONS)

    def __delitem__(self, token: str) -> None:
        with self._lock:
            del self._kept[token]

    def __iter__(self) -> Iterator[str]:
        with self._lock:
            kept = list(self._kept.items())
        return iter([token for token, session in kept if self._counts(session)])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _drop_oldest(self, tokens: list[str], most: int) -> None:
        """Drop the session that was used longest ago, where there are more than so many."""
        if len(tokens) > most:
            del self._kept[min(tokens, key=lambda token: self._kept[token].used_at)]

    def _counts(self, session: Session) -> bool:
        now = time.time()
        in_time = now - session.begun_at < LONGEST_SECONDS and now - session.used_at < IDLE_SECONDS
        return in_time and self._is_valid(session.name, session.begun_at)
