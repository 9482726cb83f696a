"""The origin of a request: the name it was sent to, and whether a page of somebody else sent it.

A browser lets any page send requests to any address: one's own page is told from another by the name in
`Host` (a foreign name may point to this machine), `Origin`, and `Sec-Fetch-Site`, which pages can't write.
Programs send neither of the last two and are no browsers, so they pass.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
NETLOC = re.compile(r"(?:[A-Za-z0-9_-][A-Za-z0-9._-]{0,252}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
OWN_SITES = frozenset({"same-origin", "none"})
"""Values of `Sec-Fetch-Site` for the page itself, and for a typed address or a bookmark."""
USUAL_PORTS = (":80", ":443")
WATCHED = ("host", "origin", "sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest", "x-forwarded-host")

Headers = Iterable[tuple[bytes, bytes]]


@dataclass(frozen=True, kw_only=True)
class Names:
    """Names of this page. `answered`: those whose requests are answered at all; None for any, where a
    password decides. `own`: further names of this page, with a port or without, by its owner's word.
    `framed`: whether the page may stand inside another, as on a Space."""

    answered: frozenset[str] | None
    own: frozenset[str] = frozenset()
    framed: bool = False

    @classmethod
    def of(cls, host: str, further: Sequence[str] = (), *, anyone: bool, framed: bool = False) -> Names:
        """The names of a server on `host`, and the owner's `further` ones; `anyone`: every name."""
        own_names = frozenset(map(plain, further))
        named = {*LOOPBACK, bracketed(host), *further}
        return cls(
            answered=None if anyone else frozenset(map(name_of, map(plain, named))),
            own=own_names,
            framed=framed,
        )


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def bracketed(host: str) -> str:
    """An address as it stands in front of a port: IPv6 in brackets."""
    return f"[{host.strip('[]')}]" if ":" in host else host


def plain(netloc: str) -> str:
    """A host in small letters, without a usual port, IPv6 in its short form."""
    netloc = netloc.strip().lower()
    for usual in USUAL_PORTS:
        netloc = netloc.removesuffix(usual)
    name, port = name_of(netloc), netloc[len(name_of(netloc)) :]
    if name.startswith("["):
        with suppress(ValueError):
            name = f"[{ipaddress.ip_address(name[1:-1]).compressed}]"
    return name + port


def name_of(netloc: str) -> str:
    """A host without the port."""
    return netloc.partition("]")[0] + "]" if netloc.startswith("[") else netloc.partition(":")[0]


def read(headers: Headers) -> dict[str, list[str]]:
    """The headers about a request's origin, each as often as it is there."""
    found: dict[str, list[str]] = {name: [] for name in WATCHED}
    for name, value in headers:
        lowered = name.decode("latin-1").lower()
        if lowered in found:
            found[lowered].append(value.decode("latin-1").strip())
    return found


def has_host(facts: Mapping[str, Sequence[str]]) -> bool:
    """Whether a request names one host, in a form that a host can have."""
    hosts = facts["host"]
    return len(hosts) == 1 and NETLOC.fullmatch(hosts[0]) is not None


def is_answered(facts: Mapping[str, Sequence[str]], names: Names) -> bool:
    """Whether a request was sent to a name of this page, with any port: a forwarded one (`ssh -L`) may have
    another here than there, and a page on another port is told by its origin."""
    return names.answered is None or name_of(plain(facts["host"][0])) in names.answered


def is_foreign(facts: Mapping[str, Sequence[str]], names: Names) -> bool:
    """Whether a page of somebody else sent a request."""
    sites = facts["sec-fetch-site"]
    if any(site.lower() not in OWN_SITES for site in sites):
        return True
    return any(not _is_own(origin, facts, names) for origin in facts["origin"])


def _is_own(origin: str, facts: Mapping[str, Sequence[str]], names: Names) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    if parts.scheme not in {"http", "https"} or not NETLOC.fullmatch(parts.netloc):
        return False  # `null` too: what has no origin of its own is not this page
    netloc = plain(parts.netloc)
    # A page can't write X-Forwarded-Host without asking first, which is refused: a proxy wrote it.
    forwarded = ",".join(facts["x-forwarded-host"]).split(",")
    here = {plain(host) for host in (*facts["host"], *forwarded)}
    return netloc in here or netloc in names.own or name_of(netloc) in names.own


def is_visit(facts: Mapping[str, Sequence[str]], names: Names) -> bool:
    """Whether a browser only goes to the page as a whole: elsewhere nothing of it can be read or done."""
    if facts["origin"] or facts["sec-fetch-mode"] != ["navigate"]:
        return False
    return facts["sec-fetch-dest"] == ["document"] or (names.framed and facts["sec-fetch-dest"] == ["iframe"])
