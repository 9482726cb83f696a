"""The gate of the real app, over its port: what strangers send, and what still works for everybody else. What
asks for a password is in test_gate_login.py."""

from __future__ import annotations

import json
import os
import socket
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.api_caller import Caller, write_picture
from tests.support.waiting import PATIENCE, until

LIST = "gradio_api/run/list_loras"


@pytest.mark.parametrize("host", ["x.localhost", "localhost.", "[::ffff:127.0.0.1]", "evil.example"])
def test_a_name_bound_anew_is_not_answered(studio: Caller, host: str) -> None:
    for path, post in ((LIST, True), ("config", False), ("", False), ("gradio_api/upload", True)):
        headers = {"host": f"{host}:{studio.app.port}"}
        answer = studio.http.request("POST" if post else "GET", path, headers=headers, json={"data": [""]})
        assert answer.status_code == 421


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
WRONG: list[list[Any]] = [[], [{"a": 1}] * 3, [None] * 200, ["\x00" * 10] * 5, [[[]]] * 2]
PIECES = [b"", b"{", b"null", b"[]", b"\xff", b'"x"', b'{"data": [NaN]}', b"[" * 50_000]


@pytest.mark.parametrize("kinds", [1, pytest.param(len(WRONG), marks=pytest.mark.slow)])
def test_a_malformed_request_is_a_line_of_the_log_and_no_traceback(studio: Caller, kinds: int) -> None:
    """With so many kinds of data for each event of the page, in turns."""
    said, loras = len(studio.app.said), studio.run("list_loras", "")
    count = len(studio.http.get("config").json()["dependencies"])
    requests = 0
    for path, body in GARBAGE:
        studio.http.post(f"gradio_api/{path}", json=body)
        requests += 1
    for index in range(count):
        first = index % len(WRONG)
        for data in [*WRONG, *WRONG][first : first + kinds]:
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
    assert studio.run("list_loras", "") == loras
    lines = studio.app.said[said:]
    assert not [line for line in lines if line.startswith(("Traceback", "  File "))], "".join(lines)[:6000]
    assert len(lines) <= requests + 2
    _end_trainings(studio)


def _end_trainings(studio: Caller) -> None:
    """Some of the events let a training go on that others have left."""
    ended = {"finished", "stopped", "failed", "interrupted"}
    for row in studio.run("list_trainings", 50):
        studio.run("stop_training", row["job_id"])
        until(lambda job=row["job_id"]: studio.run("training_status", job)["status"] in ended)


def test_leaving_in_the_middle_of_an_upload_is_no_traceback_and_leaves_no_file(studio: Caller) -> None:
    said, loras = len(studio.app.said), studio.run("list_loras", "")
    for length in (10_000, 3_000_000):
        with socket.create_connection(("127.0.0.1", studio.app.port), timeout=PATIENCE) as line:
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
    assert studio.run("list_loras", "") == loras
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
    trainings = studio.run("list_trainings")
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
        assert studio.run("list_trainings") == trainings
        answers = [plan.result() for plan in plans]
    measured = [answer for answer in answers if answer.status_code == 200]
    busy = [answer for answer in answers if "measured" in answer.json().get("error", "")]
    assert measured
    assert len(measured) + len(busy) == 45
    assert len(busy) > 30
