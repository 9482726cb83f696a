"""Logins with a password. Nobody can keep the owner out: the right password is compared at once and let in,
however many wrong ones are being tried. Only wrong ones wait."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

WRONG_SECONDS, LONGEST_SECONDS = 0.5, 4.0
"""Seconds that the first wrong password of an address waits for its answer; each more waits twice as long, up
to the second number."""
FORGET_SECONDS = 600.0
MOST_PENDING, MOST_PENDING_OF_ONE = 32, 4
"""Wrong passwords that wait for their answer, in all and of one address: further ones are sent away without
waiting."""
MOST_REMEMBERED = 2000
LANES, MOST_CHECKED = 2, 64
"""People's passwords that are compared at once, and those that wait for it: each costs 16 MB and some 40 ms
of a core. Further ones are sent away."""
SHORT_PASSWORD = 12
"""Characters of a password; of fewer, so many guesses fit into days that a network can try them."""


@dataclass(frozen=True, kw_only=True)
class Access:
    """User and password the page asks for, both empty for an open page; `made` when made up here. With
    `people` it asks for the passwords of people."""

    username: str = ""
    password: str = ""
    made: bool = False
    people: bool = False

    @property
    def asks(self) -> bool:
        return bool(self.password) or self.people

    @property
    def words(self) -> str:
        """The line for whoever starts the page on how to come in; empty where nothing is asked."""
        if self.made:
            return f"User {self.username}, password {self.password} (made for this run)"
        if self.people and not self.password:
            return "People log in by their names; lora-studio access invite lets more in."
        return ""


class Known(Protocol):
    """The people with passwords of their own."""

    def knows(self, name: str, password: str) -> bool: ...


class Answer(Enum):
    """The result of a login, with its HTTP status."""

    RIGHT = 200
    WRONG = 400
    TOO_MANY = 429


def group_of(address: str) -> str:
    """The address that guesses are counted for: of IPv6 the /64, which one visitor has."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


class Login:
    """The logins of one page. `attempt` belongs to one event loop."""

    def __init__(self, access: Access, people: Known | None = None) -> None:
        self._access, self._people = access, people
        self._lanes = asyncio.Semaphore(LANES)
        self._checked: Counter[str] = Counter()
        self._pending: Counter[str] = Counter()
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()

    async def attempt(self, username: str, password: str, address: str) -> Answer:
        """Compare in constant time; a wrong password is answered late. The page's own password, which is
        compared first and without effort, can't be kept out by anybody; those of people only by somebody who
        tries more than fifty a second."""
        source = group_of(address)
        is_right = self._is_right(username, password)
        if not is_right and self._people is not None and not self._is_owner(username):
            async with self.place(address) as has_place:
                if not has_place:
                    return Answer.TOO_MANY
                is_right = await asyncio.to_thread(self._people.knows, username, password)
        if is_right:
            self._wrong.pop(source, None)
            return Answer.RIGHT
        if self._pending.total() >= MOST_PENDING or self._pending[source] >= MOST_PENDING_OF_ONE:
            return Answer.TOO_MANY
        self._pending[source] += 1
        try:
            await asyncio.sleep(self._wait_of(source))
        finally:
            self._pending[source] -= 1
            if not self._pending[source]:
                del self._pending[source]
        return Answer.WRONG

    @asynccontextmanager
    async def place(self, address: str) -> AsyncIterator[bool]:
        """One of the few places where a password of people is hashed, which is meant to be costly; False when
        all are taken, or this address has its share."""
        source = group_of(address)
        if self._checked.total() >= MOST_CHECKED or self._checked[source] >= MOST_PENDING_OF_ONE:
            yield False
            return
        self._checked[source] += 1
        try:
            async with self._lanes:
                yield True
        finally:
            self._checked[source] -= 1
            if not self._checked[source]:
                del self._checked[source]

    def _is_owner(self, username: str) -> bool:
        """Whether the name is that of the page's own password: nobody else comes in under it."""
        return bool(self._access.password) and username.casefold() == self._access.username.casefold()

    def _is_right(self, username: str, password: str) -> bool:
        same_name = _same(username, self._access.username)
        same_password = _same(password, self._access.password)
        return bool(self._access.password) and same_name and same_password

    def _wait_of(self, source: str) -> float:
        """Seconds to wait for one more wrong password of an address."""
        now = time.monotonic()
        before, last = self._wrong.pop(source, (0, now))
        before = 0 if now - last > FORGET_SECONDS else before
        self._wrong[source] = (before + 1, now)
        if len(self._wrong) > MOST_REMEMBERED:
            self._wrong.popitem(last=False)
        return min(LONGEST_SECONDS, WRONG_SECONDS * 2 ** min(before, 8))


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(errors="surrogatepass"), expected.encode(errors="surrogatepass"))
