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
from tests.support.supabase.places import OLDEST_NODE, find_node
from tests.support.waiting import PATIENCE

PAGE = (CHECKOUT / "docs" / "api.md").read_text("utf-8")
WRITTEN_ADDRESS = "http://127.0.0.1:7860"
CALL, JOB = re.findall(r"```javascript\n(.*?)```", PAGE, re.DOTALL)


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


def run_javascript(script: str, address: str, folder: Path) -> subprocess.CompletedProcess[str]:
    node = find_node()
    if node is None:
        pytest.skip(f"needs Node.js {OLDEST_NODE} or newer")
    assert WRITTEN_ADDRESS in script
    (folder / "studio.mjs").write_text(script.replace(WRITTEN_ADDRESS, address), "utf-8")
    return subprocess.run([node, "studio.mjs"], cwd=folder, capture_output=True, text=True, timeout=PATIENCE)


def test_javascript_asks_for_the_loras(address: str, tmp_path: Path) -> None:
    wrong = """
    const draw = ["generate", "x", [], "starter", "", 1, 99];
    for (const values of [["no_such_endpoint"], ["training_status", "gone"], draw])
      await call(...values).catch((error) => console.log("refused:", error.message));
    """
    run = run_javascript(CALL + wrong, address, tmp_path)
    assert run.returncode == 0, run.stderr
    refused = [line for line in run.stdout.splitlines() if line.startswith("refused:")]
    assert len(refused) == 3
    assert "There is no training 'gone'." in refused[1]
    assert refused[2] == "refused: count: a whole number from 1 to 16 is needed (got 99)."


@pytest.mark.slow  # ten pictures, two steps, a picture
def test_javascript_does_the_whole_job(address: str, tmp_path: Path) -> None:
    shutil.copytree(CHECKOUT / "examples" / "ink", tmp_path / "examples" / "ink")
    assert "max_train_steps: 200" in JOB
    job = JOB.replace("max_train_steps: 200", "max_train_steps: 2, sample_every_n_steps: 0")
    run = run_javascript(CALL + job, address, tmp_path)
    assert run.returncode == 0, run.stderr
    assert "10 pictures, 10 captions" in run.stdout.splitlines()
    assert run.stdout.splitlines()[-1] == "rocket.png, seed 1"
    assert (tmp_path / "rocket.png").read_bytes().startswith(b"\x89PNG")


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
