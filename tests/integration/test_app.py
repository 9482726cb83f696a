"""app.py as a program: who may come in, on which port, and how it ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest
from gradio_client import Client, handle_file

from tests.support.serving import CHECKOUT, free_port, running_app
from tests.support.waiting import PATIENCE, until

FOX = CHECKOUT / "examples" / "ink" / "fox.png"


def test_off_this_machine_there_is_a_password_and_an_idle_studio_is_small(tmp_path: Path) -> None:
    with running_app(tmp_path, ["--host", "0.0.0.0"]) as app:
        address = re.sub(r"//[^:/]+", "//127.0.0.1", app.address)
        deadline = time.monotonic() + PATIENCE
        while not (printed := re.search(r"User (\S+), password (\S+)", "".join(app.said))):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        user, password = printed.groups()
        with httpx.Client(base_url=address, timeout=PATIENCE, trust_env=False) as visitor:
            assert visitor.get("config").status_code == 401
            assert visitor.get("gradio_api/info").status_code == 401
            assert visitor.post("gradio_api/run/list_loras", json={"data": [""]}).status_code == 401
            assert visitor.post("gradio_api/upload", files={"files": b"x"}).status_code == 401
            assert visitor.post("login", data={"username": user, "password": "wrong"}).status_code == 400
            assert visitor.get("config").status_code == 401
            assert visitor.post("login", data={"username": user, "password": password}).status_code == 200
            for path in ("config", "", "healthz", "metrics"):
                assert visitor.get(path).status_code == 200
        process = psutil.Process(app.process.pid)
        assert process.memory_info().rss < 400e6
        if sys.platform == "linux":
            assert not [mapped for mapped in process.memory_maps() if "libtorch" in mapped.path]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to answer")
def test_sigterm_ends_it_in_order_and_keeps_what_was_learned(tmp_path: Path) -> None:
    with running_app(tmp_path) as app:
        client = Client(app.address, verbose=False)
        made = client.predict([handle_file(FOX)], "Fox", api_name="/upload_dataset")
        options = {"max_train_steps": 100_000, "sample_every_n_steps": 0}
        started = client.predict(
            made["dataset_id"], "Fox", "object", "", "starter", options, api_name="/start_training"
        )
        while client.predict(started["job_id"], api_name="/training_status")["step"] < 2:
            time.sleep(0.2)
        client.close()
        app.process.send_signal(signal.SIGTERM)
        assert app.process.wait(PATIENCE) == 0
    assert any("Closing" in line for line in app.said)
    assert (app.models / "lora" / "fox" / "fox.safetensors").is_file()
    database = sqlite3.connect(app.home / "studio.db")
    assert database.execute("SELECT status FROM jobs").fetchall() == [("paused",)]
    database.close()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to answer")
def test_sigterm_is_heard_from_the_moment_the_port_answers(tmp_path: Path) -> None:
    """Of the command that docs/api.md begins with, too."""
    port = free_port()
    environment = {**os.environ, "LORA_STUDIO_HOME": str(tmp_path / "home")}
    environment["LORA_STUDIO_MODELS"] = str(tmp_path / "models")
    command = [sys.executable, "-u", "-m", "lora_studio", "serve", "--port", str(port)]
    with subprocess.Popen(command, cwd=CHECKOUT, env=environment, stdout=subprocess.PIPE, text=True) as app:
        until(lambda: answers(port))
        app.send_signal(signal.SIGTERM)
        said, _ = app.communicate(timeout=PATIENCE)
    assert app.returncode == 0, said
    assert f"LoRA Studio is open at http://127.0.0.1:{port}" in said
    assert "Closing" in said


def answers(port: int) -> bool:
    with socket.socket() as visitor:
        return visitor.connect_ex(("127.0.0.1", port)) == 0
