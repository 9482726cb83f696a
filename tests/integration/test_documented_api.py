"""docs/api.md against a running studio: the script runs as it stands. test_app.py opens one as it says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.support.serving import CHECKOUT, App
from tests.support.waiting import PATIENCE

PAGE = (CHECKOUT / "docs" / "api.md").read_text("utf-8")
WRITTEN_ADDRESS = "http://127.0.0.1:7860"


@pytest.fixture
def address(app: App) -> str:
    return app.address.rstrip("/")


@pytest.mark.slow  # in the first tier test_workflow_script.py does the whole job
def test_the_script_of_the_page_runs(address: str, tmp_path: Path) -> None:
    script = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    assert WRITTEN_ADDRESS in script
    assert '"max_train_steps": 200' in script
    script = script.replace(WRITTEN_ADDRESS, address).replace(
        '"max_train_steps": 200', '"max_train_steps": 2, "sample_every_n_steps": 0'
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-c", script],
        cwd=CHECKOUT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert lines[0] == "10 pictures, 10 captions"
    pictures = [line for line in lines if line.endswith(".png") and ":" not in line]
    assert "100 %" in lines[lines.index(pictures[0]) - 1]
    assert len(pictures) == 2
    assert all(Path(line).read_bytes().startswith(b"\x89PNG") for line in pictures)
    said = dict(line.split(": ", 1) for line in lines if ": " in line)
    assert Path(said["redrawn"]).is_file()
    assert said["sheet"].endswith("cells: 6")
    assert said["seed"].isdecimal()
    assert re.fullmatch(r"cat, zwx style \d+ %", said["stopped"])
    assert int(lines[-1].split()[0]) < 16


@pytest.mark.slow  # the same call as the page's script has it
def test_the_readme_draws_an_apple(address: str, tmp_path: Path) -> None:
    (script,) = re.findall(r"```python\n(.*?)```", (CHECKOUT / "README.md").read_text("utf-8"), re.DOTALL)
    assert WRITTEN_ADDRESS in script
    run = subprocess.run(
        [sys.executable, "-c", script.replace(WRITTEN_ADDRESS, address) + "\nprint(*images, sep='\\n')"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    (picture,) = [line for line in run.stdout.splitlines() if line.endswith(".png")]
    assert Path(picture).read_bytes().startswith(b"\x89PNG"), run.stderr


def test_the_request_without_a_client(address: str) -> None:
    (url, body) = re.findall(r"curl -s (\S+) .*?-d '(.*?)'", PAGE, re.DOTALL)[0]
    request = urllib.request.Request(
        url.replace(WRITTEN_ADDRESS, address), body.encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        loras = json.load(answer)["data"][0]
    assert all(lora["slug"] and lora["download_url"] for lora in loras)


def test_a_picture_without_a_client(address: str) -> None:
    command = re.findall(r"```bash\n(curl -s \S+generate_base64.*?)```", PAGE, re.DOTALL)[0]
    if shutil.which("curl") is None or shutil.which("python3") is None:
        pytest.skip("needs curl and python3")
    run = subprocess.run(
        ["sh", "-c", command.replace(WRITTEN_ADDRESS, address)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, "NO_PROXY": "127.0.0.1"},
    )
    assert re.fullmatch(r"\d{3,} bytes\n", run.stdout), run.stderr


def test_the_table_names_every_endpoint(address: str) -> None:
    with urllib.request.urlopen(f"{address}/gradio_api/info", timeout=PATIENCE) as answer:
        endpoints = json.load(answer)["named_endpoints"]
    written = {
        row[0]: re.findall(r"`(\w+)`", row[1])
        for row in re.findall(r"^\| `(/\w+)` \| (.*?) \|", PAGE, re.MULTILINE)
    }
    assert set(written) == set(endpoints)
    for name, parameters in written.items():
        actual = [parameter["parameter_name"] for parameter in endpoints[name]["parameters"]]
        assert parameters == actual, name
