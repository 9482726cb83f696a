"""A small server that speaks what huggingface_hub asks of the Hub: a repository's list of files, and the
files themselves. Serves folders `<owner>/<name>` below one folder."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import huggingface_hub
import pytest
from huggingface_hub import constants

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PIECE = 1024


class HubServer(ThreadingHTTPServer):
    """`asked` are the requests so far, `sent` the bytes of files; `pause` is waited before each piece of a
    file."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.folder = folder
        self.asked: list[str] = []
        self.sent = 0
        self.pause = 0.0
        self.gated: set[str] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def fetched(self) -> list[str]:
        """The files that were sent, in order."""
        return [line.split("/main/")[1] for line in self.asked if line.startswith("GET") and "/main/" in line]


@contextmanager
def serve_hub(folder: Path) -> Iterator[HubServer]:
    with HubServer(folder) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@contextmanager
def only_hub(folder: Path, cache: Path, patch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """The library talks to a server of `folder` and keeps what it fetches in `cache`."""
    huggingface_hub.close_session()
    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    patch.setattr(constants, "HF_HUB_CACHE", str(cache))
    with serve_hub(folder) as server:
        point_to(server.url, patch)
        yield server
    huggingface_hub.close_session()


def point_to(url: str, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(constants, "ENDPOINT", url)
    template = f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


class _Answer(BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, *_: object) -> None:
        """Nothing on the console."""

    def _answer(self, *, with_body: bool) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            self._list("/".join(parts[2:4]))
        elif len(parts) > 4 and parts[2] == "resolve":
            self._send_file("/".join(parts[:2]), "/".join(parts[4:]), with_body)
        else:
            self._refuse(404, "EntryNotFound")

    def _list(self, repository: str) -> None:
        folder = self.server.folder / repository
        if not folder.is_dir():
            return self._refuse(404, "RepoNotFound")
        files = [
            {"rfilename": path.relative_to(folder).as_posix(), "size": path.stat().st_size}
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        ]
        body = json.dumps({"id": repository, "sha": COMMIT, "siblings": files}).encode()
        self._head(200, {"Content-Type": "application/json", "Content-Length": str(len(body))})
        self.wfile.write(body)
        return None

    def _send_file(self, repository: str, name: str, with_body: bool) -> None:
        folder = self.server.folder / repository
        if repository in self.server.gated:
            return self._refuse(403, "GatedRepo")
        if not folder.is_dir():
            return self._refuse(404, "RepoNotFound")
        if not (folder / name).is_file():
            return self._refuse(404, "EntryNotFound")
        content = (folder / name).read_bytes()
        etag = hashlib.sha256(content).hexdigest()
        self._head(200, {"X-Repo-Commit": COMMIT, "ETag": f'"{etag}"', "Content-Length": str(len(content))})
        for start in range(0, len(content) if with_body else 0, PIECE):
            time.sleep(self.server.pause)
            try:
                self.server.sent += self.wfile.write(content[start : start + PIECE])
            except OSError:  # whoever asked has gone
                self.close_connection = True
                break
        return None

    def _refuse(self, status: int, code: str) -> None:
        self._head(status, {"X-Error-Code": code, "X-Error-Message": code, "Content-Length": "0"})

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
