"""A small server that speaks what huggingface_hub asks of the Hub: a repository's list of files, and the
files themselves. Serves folders `<owner>/<name>` below one folder."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

import huggingface_hub
import pytest
from huggingface_hub import constants

from tests.support.local_server import JsonAnswer, LocalServer, ServerT, serving

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PIECE = 1024
TOKEN = "hf_of_this_test"


class HubServer(LocalServer):
    """`asked` are the requests so far, `sent` the bytes of files; `pause` comes before each piece."""

    def __init__(self, folder: Path) -> None:
        super().__init__(_Answer)
        self.folder = folder
        self.asked: list[str] = []
        self.sent = 0
        self.pause = 0.0
        self.gated: set[str] = set()

    def fetched(self) -> list[str]:
        """The files that were sent, in order."""
        return [line.split("/main/")[1] for line in self.asked if line.startswith("GET") and "/main/" in line]


@contextmanager
def only_hub(folder: Path, cache: Path, patch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """The library talks to a server of `folder` and keeps what it fetches in `cache`."""
    huggingface_hub.close_session()
    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    patch.setattr(constants, "HF_HUB_CACHE", str(cache))
    with serving(HubServer(folder)) as server:
        point_to(server.url, patch)
        yield server
    huggingface_hub.close_session()


@contextmanager
def logged_in(server: ServerT, patch: pytest.MonkeyPatch, folder: Path) -> Iterator[ServerT]:
    """The library talks to a server, with TOKEN; `folder` has no other token."""
    huggingface_hub.close_session()
    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    patch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # Xet's own servers would be needed too
    patch.setattr(constants, "HF_TOKEN_PATH", str(folder / "token"))
    patch.setenv("HF_TOKEN", TOKEN)
    with serving(server):
        point_to(server.url, patch)
        yield server
    huggingface_hub.close_session()


def point_to(url: str, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(constants, "ENDPOINT", url)
    template = f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


class _Answer(JsonAnswer):
    server: HubServer

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

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
        return self.say(200, {"id": repository, "sha": COMMIT, "siblings": files})

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
        self.send(status, b"", {"X-Error-Code": code, "X-Error-Message": code})

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
