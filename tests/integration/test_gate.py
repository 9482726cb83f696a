"""The gate of the real app, over its port: what strangers send, and what still works for everybody else."""

from __future__ import annotations

import http.client
import json
import os
import socket
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from gradio_client import Client, handle_file

from tests.support.api_caller import Caller, write_picture
from tests.support.serving import CHECKOUT, App, running_app
from tests.support.waiting import PATIENCE

FOX = CHECKOUT / "examples" / "ink" / "fox.png"
USER, PASSWORD = "studio", "correct horse"
LIST = "gradio_api/run/list_loras"


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with running_app(tmp_path_factory.mktemp("locked"), LORA_STUDIO_PASSWORD=PASSWORD) as running:
        yield running


def port_of(app: App) -> int:
    return urlsplit(app.address).port or 0


@contextmanager
def log_in(app: App) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=app.address, timeout=PATIENCE, trust_env=False) as visitor:
        assert visitor.post("login", data={"username": USER, "password": PASSWORD}).status_code == 200
        yield visitor


@pytest.mark.parametrize("host", ["x.localhost", "localhost.", "[::ffff:127.0.0.1]", "evil.example"])
def test_a_name_bound_anew_is_not_answered(studio: Caller, host: str) -> None:
    for path, post in ((LIST, True), ("config", False), ("", False), ("gradio_api/upload", True)):
        headers = {"host": f"{host}:{port_of(studio.app)}"}
        answer = studio.http.request("POST" if post else "GET", path, headers=headers, json={"data": [""]})
        assert answer.status_code == 421


def test_the_client_uploads_and_calls(app: App, locked: App) -> None:
    for running, auth in ((app, None), (locked, (USER, PASSWORD))):
        client = Client(running.address, auth=auth, verbose=False)
        made = client.predict([handle_file(FOX)], "Fox", api_name="/upload_dataset")
        assert made["images"] == 1
        client.close()


def test_without_a_session_a_body_is_not_even_received(locked: App) -> None:
    """The server answers after the head; it would need all of the 100 MB to parse them."""
    for path in (f"/{LIST}", "/gradio_api/run/predict", "/gradio_api/upload", "/gradio_api/queue/join"):
        with socket.create_connection(("127.0.0.1", port_of(locked)), timeout=PATIENCE) as line:
            head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            line.sendall(f"{head}Content-Length: 100000000\r\n\r\n{{".encode())
            with closing(http.client.HTTPResponse(line)) as answer:
                answer.begin()
                assert answer.status == 401


def test_a_chunked_body_is_cut_off(studio: Caller) -> None:
    sent = 0

    def pieces() -> Iterator[bytes]:
        nonlocal sent
        yield b'{"data": ['
        for _ in range(1000):
            sent += 1
            yield b"0," * 50_000

    try:
        answer = studio.http.post(LIST, content=pieces(), headers={"content-type": "application/json"})
        assert answer.status_code == 413
    except httpx.TransportError:
        pass  # the server had answered and left before all was sent
    assert sent < 1000


def test_nothing_is_shown_in_front_of_the_login(locked: App) -> None:
    with httpx.Client(base_url=locked.address, timeout=PATIENCE, trust_env=False) as visitor:
        page = visitor.get("")
        assert page.status_code == 200
        assert "upload_dataset" not in page.text
        for path in ("openapi.json", "gradio_api/openapi.json", "gradio_api/info", "config", "theme.css"):
            assert visitor.get(path).status_code == 401
        assert visitor.get("gradio_api/token").status_code == 401
    with log_in(locked) as owner:
        assert owner.get("gradio_api/openapi.json").status_code == 200
        assert owner.get("openapi.json").status_code == owner.get("gradio_api/token").status_code == 404
        assert owner.get("logout").status_code == 302
        assert owner.get("config").status_code == 401


def test_a_share_link_and_a_tunnel_come_in_with_their_own_names(locked: App) -> None:
    for host in ("abc123.gradio.live", "studio.lan:8443", "x.trycloudflare.com"):
        with httpx.Client(base_url=locked.address, timeout=PATIENCE, trust_env=False) as visitor:
            visitor.headers.update({"host": host, "origin": f"https://{host}", "x-forwarded-proto": "https"})
            given = visitor.post("login", data={"username": USER, "password": PASSWORD})
            assert given.status_code == 200
            assert "Secure" in given.headers["set-cookie"]
            cookie = given.headers["set-cookie"].partition(";")[0]
            answer = visitor.post(LIST, json={"data": [""]}, headers={"cookie": cookie})
            assert (answer.status_code, answer.json()["data"]) == (200, [[]])


GARBAGE: list[tuple[str, Any]] = [
    ("run/predict", {"fn_index": 10**6, "data": [], "session_hash": "x"}),
    ("run/predict", {"fn_index": -1, "data": []}),
    ("run/predict", {"fn_index": "x", "data": {}}),
    ("run/predict", {"data": None}),
    ("run/nothing", {"data": []}),
    ("call/nothing", {"data": []}),
    ("call/v2/nothing", {"data": []}),
    ("call/list_loras", {"data": {"a": 1}}),
    ("call/v2/list_loras", {"nothing": 1}),
    ("queue/join", {"fn_index": 10**6, "data": [], "session_hash": "s"}),
    ("queue/join", {"fn_index": 0, "data": [], "session_hash": "s", "event_id": "e", "trigger_id": 10**6}),
    ("queue/join", {"fn_index": 0, "data": [], "session_hash": {"a": 1}}),
    ("queue/join", {"data": []}),
    ("cancel", {"session_hash": "x", "fn_index": 0, "event_id": "y"}),
    ("cancel", {}),
    ("reset", {"event_id": 7}),
]
PIECES = [b"", b"{", b"null", b"[]", b"\xff", b'"x"', b'{"data": [NaN]}', b"[" * 50_000]


def test_a_malformed_request_is_a_line_of_the_log_and_no_traceback(studio: Caller) -> None:
    said = len(studio.app.said)
    count = len(studio.http.get("config").json()["dependencies"])
    requests = 0
    for path, body in GARBAGE:
        studio.http.post(f"gradio_api/{path}", json=body)
        requests += 1
    for index in range(count):
        for data in ([], [{"a": 1}] * 3, [None] * 200, ["\x00" * 10] * 5, [[[]]] * 2):
            body = {"fn_index": index, "data": data, "session_hash": "nobody", "event_data": data}
            answer = studio.http.post("gradio_api/run/predict", json=body)
            assert answer.status_code in {200, 422, 500}
            assert "Traceback" not in answer.text
            requests += 1
    for path in ("run/predict", "run/list_loras", "queue/join", "call/list_loras", "cancel"):
        for piece in PIECES:
            headers = {"content-type": "application/json"}
            answer = studio.http.post(f"gradio_api/{path}", content=piece, headers=headers)
            assert answer.status_code in {200, 400, 404, 413, 422, 500}
            requests += 1
    studio.http.post("gradio_api/upload", content=b"x", headers={"content-type": "multipart/form-data"})
    studio.http.get("gradio_api/queue/data", params={"session_hash": "nobody"})
    assert studio.run("list_loras", "") == []
    lines = studio.app.said[said:]
    assert not [line for line in lines if line.startswith(("Traceback", "  File "))], "".join(lines)[:6000]
    assert len(lines) <= requests + 2


def test_leaving_in_the_middle_of_an_upload_is_no_traceback_and_leaves_no_file(studio: Caller) -> None:
    said = len(studio.app.said)
    for length in (10_000, 3_000_000):
        with socket.create_connection(("127.0.0.1", port_of(studio.app)), timeout=PATIENCE) as line:
            head = (
                "POST /gradio_api/upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000\r\n"
                "Content-Type: multipart/form-data; boundary=B\r\n\r\n"
                '--B\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
            )
            line.sendall(head.encode() + b"x" * length)
            time.sleep(0.2)  # so that some of it has been read
    deadline = time.monotonic() + PATIENCE
    while left := [path for path in (studio.app.home / "uploads").iterdir() if path.is_file()]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
    assert studio.run("list_loras", "") == []
    assert "Traceback" not in "".join(studio.app.said[said:])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_what_the_studio_writes_is_its_owner_s_only(studio: Caller, tmp_path: Path) -> None:
    files = studio.upload(write_picture(tmp_path / "red.png", "red"))
    made = studio.run("upload_dataset", files, "Red")["dataset_id"]
    studio.run("generate", "a dog", [], "starter", "", 1, 1, {"num_inference_steps": 1})
    assert made
    for top in (studio.app.home, studio.app.models / "lora"):
        open_to_others = [
            str(path)
            for path in (top, *top.rglob("*"))
            if stat.S_IMODE(os.lstat(path).st_mode) & 0o077 and not path.is_symlink()
        ]
        assert not open_to_others


def test_one_plan_at_a_time_and_the_rest_answers(studio: Caller, tmp_path: Path) -> None:
    """Past the queue, as any script may."""
    from concurrent.futures import ThreadPoolExecutor

    files = studio.upload(write_picture(tmp_path / "blue.png", "blue"))
    dataset = studio.run("upload_dataset", files, "Blue")["dataset_id"]
    body = {"data": [dataset, "style", "", "starter", {"max_train_steps": 2}]}
    with ThreadPoolExecutor(45) as pool:
        plans = [
            pool.submit(
                studio.http.post,
                "gradio_api/run/plan_training",
                content=json.dumps(body),
                headers={"content-type": "application/json"},
            )
            for _ in range(45)
        ]
        assert studio.run("list_trainings") == []
        answers = [plan.result() for plan in plans]
    measured = [answer for answer in answers if answer.status_code == 200]
    busy = [answer for answer in answers if "measured" in answer.json().get("error", "")]
    assert measured
    assert len(measured) + len(busy) == 45
    assert len(busy) > 30
