"""A Hub on this machine with one account and its models: made, filled by uploads and commits, deleted. What
the Hub's own library asks for when it publishes, over HTTP, without Xet."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from tests.support.hub_server import COMMIT, TOKEN, logged_in
from tests.support.local_server import JsonAnswer, LocalServer

LARGE = (".safetensors", ".png")
"""Ends of the names of files that go up by themselves, before the commit that lists them."""


@dataclass
class Model:
    """What the Hub knows of a model."""

    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    commits: int = 0


class ModelHub(LocalServer):
    """`models` by name, `stored` large files by their hash. `refused` answers those paths that end so with a
    status; `received` are the bodies of uploads, `asked` all requests."""

    def __init__(self) -> None:
        super().__init__(_Answer)
        self.models: dict[str, Model] = {}
        self.stored: dict[str, bytes] = {}
        self.refused: dict[str, int] = {}
        self.asked: list[str] = []
        self.token = TOKEN


@contextmanager
def model_hub(patch: pytest.MonkeyPatch, folder: Path) -> Iterator[ModelHub]:
    """The library talks to such a Hub, logged in as `ada`."""
    with logged_in(ModelHub(), patch, folder) as server:
        yield server


class _Answer(JsonAnswer):
    server: ModelHub

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append(f"{self.command} {path}")
        body = self._body()
        status = next((code for end, code in self.server.refused.items() if path.endswith(end)), 0)
        if status:
            return self.say(status, {"error": "So says the Hub"})
        parts = path.strip("/").split("/")
        if parts[0] == "stored":  # a storage asks for no login: its addresses are signed
            self.server.stored[parts[1]] = body
            return self.say(200, {})
        if self.headers.get("authorization") != f"Bearer {self.server.token}":
            return self.say(401, {"error": "Invalid username or password."})
        match parts:
            case ["api", "whoami-v2"]:
                return self.say(200, {"name": "ada", "type": "user"})
            case ["api", "validate-yaml"]:
                return self.say(200, {"errors": [], "warnings": []})
            case ["api", "repos", verb]:
                return self._change(verb, json.loads(body))
            case [owner, name, "info", "lfs", "objects", "batch"]:
                return self._batch(json.loads(body))
            case ["api", "models", owner, name, *rest]:
                return self._about(f"{owner}/{name}", rest, body)
        return self.say(404, {"error": path})

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
            return self.say(200, {})
        if name in self.server.models:
            return self.say(409, {"error": "You already created this model repo"})
        self.server.models[name] = Model(
            private=asked.get("visibility") == "private" or asked.get("private") is True
        )
        return self.say(200, {"url": f"{self.server.url}/{name}", "name": name})

    def _batch(self, asked: dict[str, Any]) -> None:
        objects = [
            {**one, "actions": {"upload": {"href": f"{self.server.url}/stored/{one['oid']}"}}}
            for one in asked["objects"]
        ]
        self.say(200, {"transfer": "basic", "objects": objects})

    def _about(self, name: str, rest: list[str], body: bytes) -> None:
        model = self.server.models.get(name)
        if model is None:
            return self.say(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        match rest:
            case [] | ["revision", _]:
                files = [{"rfilename": path} for path in model.files]
                return self.say(200, {"id": name, "sha": COMMIT, "siblings": files})
            case ["preupload", _]:
                modes = [
                    {
                        "path": one["path"],
                        "uploadMode": "lfs" if one["path"].endswith(LARGE) else "regular",
                        "shouldIgnore": False,
                    }
                    for one in json.loads(body)["files"]
                ]
                return self.say(200, {"files": modes})
            case ["commit", _]:
                return self._commit(name, model, [json.loads(line) for line in body.splitlines()])
        return self.say(404, {"error": "/".join(rest)})

    def _commit(self, name: str, model: Model, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                model.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                model.files[value["path"]] = self.server.stored[value["oid"]]
        model.commits += 1
        self.say(200, {"commitUrl": f"{self.server.url}/{name}/commit/{COMMIT}", "commitOid": COMMIT})
