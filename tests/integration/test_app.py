"""app.py as a program: who may come in, on which port, and when it hears that it is to end. How it ends is in
test_shared_app_ends.py."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

from lora_studio.runtime import cpu_environment
from tests.support.serving import CHECKOUT, free_port, running_app
from tests.support.waiting import PATIENCE, until


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
        assert cpu_environment(process.environ()) == process.environ()
        if sys.platform == "linux":
            assert not [mapped for mapped in process.memory_maps() if "libtorch" in mapped.path]


@pytest.mark.slow
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
