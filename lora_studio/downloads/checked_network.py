"""The network as a download sees it: every name is looked up once, all its addresses are checked, and the
connection goes to the one that was checked. A second look-up, which a name bound anew would answer with an
address of this machine, doesn't happen (DNS rebinding)."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpcore

from lora_studio.downloads.public_addresses import is_public
from lora_studio.errors import StudioError
from lora_studio.events import ShouldStop, never_stop

LOOK_SECONDS = 0.5
"""Seconds between two looks at whether to stop, while a server is silent."""
IDLE_SECONDS = 60.0
MOST_TRIED = 4
"""Addresses of a name that are tried one after the other."""
LEAST_BYTES, LEAST_SECONDS = 16_384, 60.0
"""Bytes that have to come in so many seconds: only one file is fetched at a time, and others wait for it."""
BESIDES = 1 << 20
"""Bytes that headers and redirects may have in all, besides the file."""

Resolve = Callable[[str, int], Sequence[str]]
"""A function from a host's name and a port to its IP addresses. Raises OSError."""


class Refused(StudioError):
    """An address that nothing is fetched from."""


class Stopped(Exception):
    """The download was asked to stop."""


class TooSlow(Exception):
    """The time of the whole download is over, or hardly anything comes."""


class TooMuch(Exception):
    """More came than a file and all headers may have."""


def look_up(host: str, port: int) -> list[str]:
    """The IP addresses of a name, by the system's resolver. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


@dataclass(frozen=True, kw_only=True)
class Web:
    """The servers that may be asked. `schemes` of addresses, `resolve` finds a name's IP addresses, `inside`
    are addresses allowed though they are not public, `trust` is the certificates' authority (None: the
    usual). All but the first are for tests, which have servers of their own on this machine only."""

    schemes: frozenset[str] = frozenset({"https"})
    resolve: Resolve = look_up
    inside: frozenset[str] = frozenset()
    trust: ssl.SSLContext | None = None

    def checked(self, host: str, port: int) -> list[str]:
        """The IP addresses of a host. Raises Refused when one of them is not public, OSError."""
        try:
            addresses = list(self.resolve(host, port))
        except UnicodeError as error:
            raise Refused(f"{host[:100]!r} is no name of a server.", "Check the address.") from error
        for address in addresses:
            if address not in self.inside and not is_public(address):
                raise Refused(
                    f"{host[:100]} is an address of this machine or of a private network.",
                    "Only files of public servers are fetched; upload the file instead.",
                )
        if not addresses:
            raise OSError(f"{host[:100]} has no address")
        return addresses[:MOST_TRIED]


@dataclass(kw_only=True)
class CheckedNetwork(httpcore.NetworkBackend):
    """The backend of one download, until `deadline` by time.monotonic, for a file of `most_bytes`. All bytes
    count, whatever they are: a server may send headers without end, too. `least_seconds` are those in which
    LEAST_BYTES have to come."""

    web: Web
    deadline: float
    most_bytes: int
    least_seconds: float = LEAST_SECONDS
    should_stop: ShouldStop = never_stop
    _under: httpcore.NetworkBackend = field(default_factory=httpcore.SyncBackend)
    _received: int = 0
    _received_before: int = 0
    _since: float = field(default_factory=time.monotonic)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the checked address of a host. Raises Refused, Stopped, TooSlow, httpcore's errors."""
        failure: Exception | None = None
        for address in self._addresses(host, port):
            self.look()
            try:
                stream = self._under.connect_tcp(address, port, timeout, socket_options=socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
                continue
            if self._is_own(stream, address):
                stream.close()
                raise Refused(f"{host[:100]} is this machine.", "Upload the file instead.")
            self._since, self._received_before = time.monotonic(), self._received
            return _Stream(stream, self)
        raise failure or httpcore.ConnectError("no address")

    def connect_unix_socket(self, *_: Any, **__: Any) -> httpcore.NetworkStream:
        raise httpcore.UnsupportedProtocol("no sockets of this machine")

    def look(self) -> None:
        """Raise Stopped or TooSlow when it is time."""
        if self.should_stop():
            raise Stopped
        now = time.monotonic()
        if now >= self.deadline:
            raise TooSlow
        if now - self._since >= self.least_seconds:
            if self._received - self._received_before < LEAST_BYTES:
                raise TooSlow
            self._since, self._received_before = now, self._received

    def count(self, size: int) -> None:
        """Take note of bytes that came. Raises TooMuch."""
        self._received += size
        if self._received > self.most_bytes + BESIDES:
            raise TooMuch

    def _addresses(self, host: str, port: int) -> list[str]:
        try:
            return self.web.checked(host, port)
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error

    def _is_own(self, stream: httpcore.NetworkStream, address: str) -> bool:
        """Whether the connection ends where it begins: at a public address that this machine has itself."""
        connected = stream.get_extra_info("client_addr")
        return bool(connected) and connected[0] == address and address not in self.web.inside


class _Stream(httpcore.NetworkStream):
    """A connection that notices a stop, and the end of the time, also while the server is silent."""

    def __init__(self, under: httpcore.NetworkStream, network: CheckedNetwork) -> None:
        self._under, self._network = under, network

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        silent_until = time.monotonic() + (timeout or IDLE_SECONDS)
        while True:
            self._network.look()
            try:
                came = self._under.read(max_bytes, LOOK_SECONDS)
            except httpcore.ReadTimeout:
                if time.monotonic() >= silent_until:
                    raise
            else:
                self._network.count(len(came))
                return came

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._network.look()
        self._under.write(buffer, timeout)

    def close(self) -> None:
        self._under.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._under.start_tls(ssl_context, server_hostname, timeout), self._network)

    def get_extra_info(self, info: str) -> Any:
        return self._under.get_extra_info(info)
