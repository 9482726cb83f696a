"""A Hub on this machine with one account and its models: made, filled by uploads and commits, deleted. What
the Hub's own library asks for when it publishes, over HTTP, without Xet."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import huggingface_hub
import pytest
from huggingface_hub import constants

from tests.support.hub_server import COMMIT, point_to
from tests.support.space_hub import TOKEN

LARGE = (".safetensors", ".png")
"""Ends of the names of files that go up by themselves, before the commit that lists them."""


@dataclass
class Model:
    """What the Hub knows of a model."""

    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    commits: int = 0


class ModelHub(ThreadingHTTPServer):
    """`models` by name, `stored` large files by their hash. `refused` answers those paths that end so with a
    status; `received` are the bodies of uploads, `asked` all requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.models: dict[str, Model] = {}
        self.stored: dict[str, bytes] = {}
        self.refused: dict[str, int] = {}
        self.asked: list[str] = []
        self.token = TOKEN

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def model_hub(patch: pytest.MonkeyPatch, folder: Path) -> Iterator[ModelHub]:
    """The library talks to such a Hub, logged in as `ada`."""
    huggingface_hub.close_session()
    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    patch.setattr(constants, "HF_TOKEN_PATH", str(folder / "token"))
    patch.setenv("HF_TOKEN", TOKEN)
    with ModelHub() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        point_to(server.url, patch)
        yield server
        server.shutdown()
        thread.join()
    huggingface_hub.close_session()


class _Answer(BaseHTTPRequestHandler):
    server: ModelHub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        """Nothing on the console."""

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append(f"{self.command} {path}")
        body = self._body()
        status = next((code for end, code in self.server.refused.items() if path.endswith(end)), 0)
        if status:
            return self._say(status, {"error": "So says the Hub"})
        parts = path.strip("/").split("/")
        if parts[0] == "stored":  # a storage asks for no login: its addresses are signed
            self.server.stored[parts[1]] = body
            return self._say(200, {})
        if self.headers.get("authorization") != f"Bearer {self.server.token}":
            return self._say(401, {"error": "Invalid username or password."})
        match parts:
            case ["api", "whoami-v2"]:
                return self._say(200, {"name": "ada", "type": "user"})
            case ["api", "validate-yaml"]:
                return self._say(200, {"errors": [], "warnings": []})
            case ["api", "repos", verb]:
                return self._change(verb, json.loads(body))
            case [owner, name, "info", "lfs", "objects", "batch"]:
                return self._batch(json.loads(body))
            case ["api", "models", owner, name, *rest]:
                return self._about(f"{owner}/{name}", rest, body)
        return self._say(404, {"error": path})

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        pieces = []
        while size := int(self.rfile.readline().strip() or b"0", 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def _change(self, verb: str, asked: dict[str, Any]) -> None:
        name = f"{asked.get('organization') or 'ada'}/{asked['name']}"
        if verb == "delete":
            self.server.models.pop(name, None)
            return self._say(200, {})
        if name in self.server.models:
            return self._say(409, {"error": "You already created this model repo"})
        self.server.models[name] = Model(
            private=asked.get("visibility") == "private" or asked.get("private") is True
        )
        return self._say(200, {"url": f"{self.server.url}/{name}", "name": name})

    def _batch(self, asked: dict[str, Any]) -> None:
        objects = [
            {**one, "actions": {"upload": {"href": f"{self.server.url}/stored/{one['oid']}"}}}
            for one in asked["objects"]
        ]
        self._say(200, {"transfer": "basic", "objects": objects})

    def _about(self, name: str, rest: list[str], body: bytes) -> None:
        model = self.server.models.get(name)
        if model is None:
            return self._say(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        match rest:
            case [] | ["revision", _]:
                files = [{"rfilename": path} for path in model.files]
                return self._say(200, {"id": name, "sha": COMMIT, "siblings": files})
            case ["preupload", _]:
                modes = [
                    {
                        "path": one["path"],
                        "uploadMode": "lfs" if one["path"].endswith(LARGE) else "regular",
                        "shouldIgnore": False,
                    }
                    for one in json.loads(body)["files"]
                ]
                return self._say(200, {"files": modes})
            case ["commit", _]:
                return self._commit(name, model, [json.loads(line) for line in body.splitlines()])
        return self._say(404, {"error": "/".join(rest)})

    def _commit(self, name: str, model: Model, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                model.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                model.files[value["path"]] = self.server.stored[value["oid"]]
        model.commits += 1
        self._say(200, {"commitUrl": f"{self.server.url}/{name}/commit/{COMMIT}", "commitOid": COMMIT})

    def _say(self, status: int, answer: Any, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
