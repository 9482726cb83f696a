"""A server of files on this machine, under names of the internet, that does what servers do to a download:
redirects, breaks off, drips, lies about sizes."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from lora_studio.downloads.checked_network import Web

HOST = "files.example"
LOCAL = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The response to a path. `body` is sent piece by piece; `length` stands in its header, None for none;
    `hold` is waited for before the last piece. `endless` is sent again and again in the place of an answer,
    for as long as somebody listens, with `pause` seconds between."""

    status: int = 200
    body: tuple[bytes, ...] = ()
    length: int | None = -1
    headers: Mapping[str, str] = field(default_factory=dict)
    hold: threading.Event | None = None
    endless: bytes = b""
    pause: float = 0.0


class FileServer(ThreadingHTTPServer):
    """`answers` by path; `asked` are the requests so far, with headers, `posted` their bodies."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__((LOCAL, 0), _Reply)
        self.answers: dict[str, Answer] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.posted: list[bytes] = []
        self.names: dict[str, list[str]] = {HOST: [LOCAL]}
        self.lookups: list[str] = []

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def url(self, path: str, *, host: str = HOST, scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    def look_up(self, host: str, port: int) -> list[str]:
        """A resolver that knows the names given, each as often as it is asked."""
        self.lookups.append(host)
        if host not in self.names:
            raise OSError(f"no such name: {host}")
        return self.names[host]

    def web(self, resolve: Callable[[str, int], list[str]] | None = None, **more: object) -> Web:
        """The internet that this server is all of."""
        values: dict[str, object] = {"schemes": frozenset({"http", "https"}), "inside": frozenset({LOCAL})}
        return Web(**{**values, "resolve": resolve or self.look_up, **more})  # type: ignore[arg-type]


@contextmanager
def serve_files(trust: ssl.SSLContext | None = None) -> Iterator[FileServer]:
    """A server; with `trust`, the server's side of TLS, over HTTPS."""
    with FileServer() as server:
        if trust is not None:
            server.socket = trust.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            for answer in server.answers.values():
                if answer.hold is not None:
                    answer.hold.set()
            server.shutdown()
            thread.join()


class _Reply(BaseHTTPRequestHandler):
    server: FileServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.asked.append((self.path, {name.lower(): text for name, text in self.headers.items()}))
        answer = self.server.answers.get(self.path, Answer(status=404))
        self.close_connection = True
        try:
            while answer.endless:
                self.wfile.write(answer.endless)
                time.sleep(answer.pause)
            self.send_response(answer.status)
            for name, text in answer.headers.items():
                self.send_header(name, text)
            length = sum(map(len, answer.body)) if answer.length == -1 else answer.length
            if length is not None:
                self.send_header("Content-Length", str(length))
            self.send_header("Connection", "close")
            self.end_headers()
            for number, piece in enumerate(answer.body, 1):
                if answer.hold is not None and number == len(answer.body):
                    answer.hold.wait(60)
                self.wfile.write(piece)
                self.wfile.flush()
        except OSError:  # whoever asked has gone
            pass

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self.server.posted.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Nothing on the console."""
