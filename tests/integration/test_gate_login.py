"""The gate of the real app with a password, over its port: what is shown in front, and who gets in."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest
from gradio_client import Client, handle_file

from tests.support.serving import CHECKOUT, App
from tests.support.shared_apps import PASSWORD, USER
from tests.support.waiting import PATIENCE

LIST = "gradio_api/run/list_loras"
FOX = CHECKOUT / "examples" / "ink" / "fox.png"


@contextmanager
def log_in(app: App) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=app.address, timeout=PATIENCE, trust_env=False) as visitor:
        assert visitor.post("login", data={"username": USER, "password": PASSWORD}).status_code == 200
        yield visitor


def test_the_client_logs_in_uploads_and_calls(locked: App) -> None:
    """Without a password test_api.py does so."""
    client = Client(locked.address, auth=(USER, PASSWORD), verbose=False)
    made = client.predict([handle_file(FOX)], "Fox", api_name="/upload_dataset")
    assert made["images"] == 1
    client.close()


def test_without_a_session_a_body_is_not_even_received(locked: App) -> None:
    """The server answers after the head; it would need all of the 100 MB to parse them."""
    for path in (f"/{LIST}", "/gradio_api/run/predict", "/gradio_api/upload", "/gradio_api/queue/join"):
        with socket.create_connection(("127.0.0.1", locked.port), timeout=PATIENCE) as line:
            head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            line.sendall(f"{head}Content-Length: 100000000\r\n\r\n{{".encode())
            with closing(http.client.HTTPResponse(line)) as answer:
                answer.begin()
                assert answer.status == 401


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
        assert owner.get("logout").status_code == 303
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
            assert (answer.status_code, len(answer.json()["data"])) == (200, 1)


def test_the_documented_login_needs_no_client(locked: App, tmp_path: Path) -> None:
    page = (CHECKOUT / "docs" / "api.md").read_text("utf-8")
    (commands,) = re.findall(r"```bash\n(curl -s -c .*?)```", page, re.DOTALL)
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    run = subprocess.run(
        ["sh", "-c", commands.replace("http://127.0.0.1:7860", locked.address.rstrip("/"))],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        cwd=tmp_path,
        env={**os.environ, "NO_PROXY": "127.0.0.1", "LORA_STUDIO_PASSWORD": PASSWORD},
    )
    assert '"data":[[' in run.stdout, run.stdout + run.stderr
