"""A Hub on this machine with one account and its Spaces: made, filled by commits, built at once."""

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


@dataclass
class Space:
    """What the Hub knows of a Space. `made` is the request that made it."""

    made: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    volumes: list[Any] = field(default_factory=list)
    hardware: str = "cpu-basic"
    settings: dict[str, Any] = field(default_factory=dict)
    sleep_seconds: int = 0


class SpaceHub(LocalServer):
    """`stage` is where a Space gets to once it has files, `log` its lines; `refused` answers every writing
    request with that status."""

    def __init__(self) -> None:
        super().__init__(_Answer)
        self.spaces: dict[str, Space] = {}
        self.stage = "RUNNING"
        self.log = ["Successfully built"]
        self.refused = 0


@contextmanager
def space_hub(patch: pytest.MonkeyPatch, folder: Path) -> Iterator[SpaceHub]:
    """The library talks to such a Hub, logged in as `ada`."""
    with logged_in(SpaceHub(), patch, folder) as server:
        yield server


class _Answer(JsonAnswer):
    server: SpaceHub

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.headers.get("authorization") != f"Bearer {TOKEN}":
            return self.say(401, {"error": "Invalid username or password."})
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        if parts == ["api", "whoami-v2"]:
            return self.say(200, {"name": "ada", "type": "user"})
        if parts == ["api", "validate-yaml"]:
            return self.say(200, {"errors": [], "warnings": []})
        if self.server.refused and self.command != "GET":
            return self.say(self.server.refused, {"error": "So says the Hub"})
        if parts == ["api", "repos", "create"]:
            return self._make(json.loads(body))
        space = self.server.spaces.get("/".join(parts[2:4]))
        if space is None:
            return self.say(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        return self._answer_about(space, parts, body)

    def _make(self, asked: dict[str, Any]) -> None:
        name = f"{asked['organization'] or 'ada'}/{asked['name']}"
        space = Space(made=asked, hardware=asked.get("hardware", "cpu-basic"))
        space.files = {".gitattributes": b"", "README.md": b"new"}
        for place, given in ((space.secrets, "secrets"), (space.variables, "variables")):
            place.update({pair["key"]: pair["value"] for pair in asked.get(given, [])})
        space.volumes = asked.get("volumes", [])
        self.server.spaces[name] = space
        self.say(200, {"url": f"{self.server.url}/spaces/{name}", "name": name})

    def _answer_about(self, space: Space, parts: list[str], body: bytes) -> None:
        name = "/".join(parts[2:4])
        match parts[4:]:
            case [] | ["revision", _]:
                files = [{"rfilename": path} for path in space.files]
                self.say(200, {"id": name, "sha": COMMIT, "siblings": files})
            case ["tree", *_]:
                listed = [
                    {"type": "file", "path": p, "size": len(b), "oid": "0"} for p, b in space.files.items()
                ]
                self.say(200, listed)
            case ["preupload", _]:
                paths = [file["path"] for file in json.loads(body)["files"]]
                modes = [{"path": p, "uploadMode": "regular", "shouldIgnore": False} for p in paths]
                self.say(200, {"files": modes})
            case ["commit", _]:
                self._commit(name, [json.loads(line) for line in body.splitlines()])
            case ["runtime"]:
                hardware = {"current": space.hardware, "requested": space.hardware}
                self.say(200, {"stage": self.server.stage, "hardware": hardware})
            case ["secrets" | "variables" as kind]:
                pair = json.loads(body)
                getattr(space, kind)[pair["key"]] = pair["value"]
                self.say(200, {})
            case ["settings"]:
                space.settings.update(json.loads(body))
                self.say(200, {})
            case ["sleeptime"]:
                space.sleep_seconds = json.loads(body)["seconds"]
                self.say(200, {"stage": self.server.stage})
            case ["volumes"]:
                space.volumes = json.loads(body)["volumes"]
                self.say(200, {})
            case ["hardware"]:
                space.hardware = json.loads(body)["flavor"]
                self.say(200, {"stage": self.server.stage, "hardware": {"requested": space.hardware}})
            case ["logs", _]:
                lines = "".join(f"data: {json.dumps({'data': line})}\n\n" for line in self.server.log)
                self.send(200, lines.encode(), {"Content-Type": "text/event-stream"})
            case _:
                self.say(404, {"error": self.path})

    def _commit(self, name: str, lines: list[dict[str, Any]]) -> None:
        space = self.server.spaces[name]
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                space.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "deletedFile":
                del space.files[value["path"]]
        self.say(200, {"commitUrl": f"{self.server.url}/spaces/{name}/commit/{COMMIT}", "commitOid": COMMIT})
