"""Bad networks: a transport below the real client that fails as told, a server that misbehaves."""

from __future__ import annotations

import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import httpx

PAGE = b"<html><body>Please sign in to the hotel's network.</body></html>"
HALF = {
    **{"refused": 0.08, "lost acknowledgement": 0.08, "429": 0.08, "503": 0.08, "timeout": 0.06},
    **{"late timeout": 0.06, "reset": 0.06, "page": 0.06},
}
"""More than half of all requests; the two with an acknowledgement that is lost were done."""


class Faulty(httpx.BaseTransport):
    """Fails by chance, with the given shares of all requests; the same seed fails the same."""

    def __init__(self, shares: Mapping[str, float], seed: int = 0) -> None:
        self._inner = httpx.HTTPTransport()
        self._shares, self._random = shares, random.Random(seed)
        self._lock = threading.Lock()
        self.requests, self.failed = 0, 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        with self._lock:
            self.requests += 1
            drawn, fault = self._random.random(), ""
            for name, share in self._shares.items():
                drawn -= share
                if drawn < 0:
                    fault = name
                    self.failed += 1
                    break
        if fault in ("lost acknowledgement", "late timeout"):
            self._inner.handle_request(request).read()
        return FAULTS[fault](request) if fault else self._inner.handle_request(request)

    def close(self) -> None:
        self._inner.close()


def _raise(kind: type[httpx.TransportError]) -> Callable[[httpx.Request], httpx.Response]:
    def fail(request: httpx.Request) -> httpx.Response:
        raise kind("a fault of the test", request=request)

    return fail


FAULTS: dict[str, Callable[[httpx.Request], httpx.Response]] = {
    "refused": _raise(httpx.ConnectError),
    "lost acknowledgement": _raise(httpx.ReadError),
    "429": lambda _: httpx.Response(429, headers={"retry-after": "0"}, json={"message": "slow down"}),
    "503": lambda _: httpx.Response(503, json={"code": "PGRST001", "message": "no connection"}),
    "timeout": _raise(httpx.ReadTimeout),
    "late timeout": _raise(httpx.ReadTimeout),
    "reset": _raise(httpx.RemoteProtocolError),
    "page": lambda _: httpx.Response(200, headers={"content-type": "text/html"}, content=PAGE),
}


class Answering(httpx.BaseTransport):
    """Gives the same answer to everything; `times` says when it was asked."""

    def __init__(self, status: int, content: bytes = b"", **headers: str) -> None:
        self._status, self._content = status, content
        self._headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.times: list[float] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.times.append(time.monotonic())
        return httpx.Response(self._status, headers=self._headers, content=self._content)


OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
ON_THE_WIRE: dict[str, bytes | None] = {
    "hang": None,
    "reset": b"",
    "closed": b"HTTP/1.1 200 OK\r\n",
    "truncated": OK + b"Content-Length: 5000\r\n\r\n[{",
    "html": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%s" % (len(PAGE), PAGE),
    "html without a type": b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(PAGE), PAGE),
    "redirect": b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/login\r\nContent-Length: 0\r\n\r\n",
    "no http": b"220 mail ready\r\n",
    "a text": OK + b'Content-Length: 4\r\n\r\n"ok"',
    "gateway": b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\r\n<p/>",
}


@contextmanager
def misbehaving(how: str) -> Iterator[str]:
    """The address of a server that does to every connection what ON_THE_WIRE says."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.settimeout(0.05)
    ended = threading.Event()
    kept: list[socket.socket] = []

    def serve() -> None:
        while not ended.is_set():
            try:
                connection, _ = listening.accept()
            except TimeoutError:
                continue
            kept.append(connection)
            connection.settimeout(60)
            connection.recv(65536)
            answer = ON_THE_WIRE[how]
            if answer is None:
                continue
            if how == "reset":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            else:
                connection.sendall(answer)
            connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        ended.set()
        thread.join()
        for connection in (*kept, listening):
            connection.close()
