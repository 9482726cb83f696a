"""A page of one person in a browser, over plain HTTP: what Gradio's script sends, and what it listens to."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from scripts.soak.studio_process import PASSWORD, PATIENCE


class Refused(Exception):
    """The sentence that the studio answered."""


@dataclass(kw_only=True)
class Browser:
    """One page. `session` is Gradio's, a new one with each reload; `values` are those of the fields."""

    address: str
    name: str
    http: httpx.Client = field(init=False)
    session: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    values: dict[int, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        timeout = httpx.Timeout(PATIENCE)
        self.http = httpx.Client(base_url=self.address, timeout=timeout, trust_env=False)

    def close(self) -> None:
        self.http.close()

    def log_in(self) -> None:
        given = {"username": self.name, "password": PASSWORD}
        self.http.post("/login", data=given).raise_for_status()

    def reload(self) -> None:
        """Open the page anew: its text, its styles, its description, then the events of opening it."""
        page = self.http.get("/").raise_for_status()
        assert "LoRA Studio" in page.text, page.text[:200]
        self.http.get("/theme.css").raise_for_status()
        self.config = self.http.get("/config").raise_for_status().json()
        self.session = secrets.token_hex(6)
        parts = self.config["components"]
        self.values = {part["id"]: part["props"].get("value") for part in parts}
        for event in self.events("load"):
            self.fire(event)

    def tick(self) -> None:
        """Look again, as the page does when its revision is another one."""
        for event in self.events("tick"):
            self.fire(event)

    def events(self, kind: str) -> list[dict[str, Any]]:
        """The page's events of a kind."""
        found = self.config["dependencies"]
        return [event for event in found if any(target[1] == kind for target in event["targets"])]

    def fire(self, event: dict[str, Any]) -> None:
        """Do an event with the fields as they are, and put its answers into them."""
        if not event["backend_fn"]:
            return
        given = [self.values.get(number) for number in event["inputs"]]
        if event["queue"] is not False:
            answers = self.result(self.join(event["id"], given))
        else:
            body = {"fn_index": event["id"], "data": given, "session_hash": self.session}
            answers = _checked(self.http.post("/gradio_api/run/predict", json=body))["data"]
        for number, answer in zip(event["outputs"], answers, strict=True):
            is_update = isinstance(answer, dict) and answer.get("__type__") == "update"
            if not is_update:
                self.values[number] = answer
            elif "value" in answer:
                self.values[number] = answer["value"]

    def join(self, number: int, given: list[Any]) -> str:
        """Put an event into Gradio's queue, as a click does. Returns its id."""
        body = {"fn_index": number, "data": given, "session_hash": self.session}
        return str(_checked(self.http.post("/gradio_api/queue/join", json=body))["event_id"])

    def result(self, event_id: str) -> list[Any]:
        """Listen to the stream of this page until an event is done. Raises Refused."""
        for message in self.stream():
            if message.get("event_id") != event_id or message["msg"] != "process_completed":
                continue
            if not message["success"]:
                raise Refused(str(message["output"].get("error")))
            return list(message["output"]["data"])
        raise Refused("The stream ended without an answer.")

    def stream(self) -> Iterator[dict[str, Any]]:
        query = {"session_hash": self.session}
        with self.http.stream("GET", "/gradio_api/queue/data", params=query) as answer:
            answer.raise_for_status()
            for line in answer.iter_lines():
                if line.startswith("data:"):
                    yield json.loads(line.removeprefix("data:"))

    def endpoint(self, name: str) -> int:
        """The number of a named endpoint on the page."""
        found = self.config["dependencies"]
        return int(next(event["id"] for event in found if event["api_name"] == name))

    def ask(self, name: str, *given: Any) -> Any:
        """The answer of a quick endpoint. Raises Refused."""
        body = {"data": list(given), "session_hash": self.session}
        return _checked(self.http.post(f"/gradio_api/run/{name}", json=body))["data"][0]

    def upload(self, paths: list[Path]) -> list[dict[str, Any]]:
        sent = [("files", (path.name, path.read_bytes())) for path in paths]
        stored = self.http.post("/gradio_api/upload", files=sent).raise_for_status().json()
        return [{"path": path, "meta": {"_type": "gradio.FileData"}} for path in stored]

    def fetch(self, path: str) -> bytes:
        return self.http.get(f"/gradio_api/file={path}").raise_for_status().content


def _checked(answer: httpx.Response) -> dict[str, Any]:
    if answer.status_code == 500 and "error" in answer.text:
        raise Refused(str(answer.json()["error"]))
    answer.raise_for_status()
    return dict(answer.json())
