"""Files for other machines: the workflow does what .ci/run does, the image is built from what it copies."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.support.installed import (
    build,
    copy_files,
    fresh_environment,
    tracked_files,
    without_python_variables,
)
from tests.support.serving import CHECKOUT, free_port, running

DOCKERFILE = (CHECKOUT / "Dockerfile").read_text("utf-8")
WORKFLOW = CHECKOUT / ".github" / "workflows" / "ci.yml"
NOT_EVERYWHERE = {
    ".venv/bin/python -m tests.support.supabase.vendor",
    'python3 launch.py test -m "slow and not network"',
}
"""Commands that Linux alone runs."""


def workflow() -> dict[str, Any]:
    return dict(yaml.safe_load(WORKFLOW.read_text("utf-8"))["jobs"]["tests"])


def test_the_workflow_runs_the_commands_of_ci_run() -> None:
    script = (CHECKOUT / ".ci" / "run").read_text("utf-8")
    ours = re.findall(r"^timeout \d+m (.+?)(?: &)?$", script, re.MULTILINE)
    assert len(ours) == 5
    steps = [step for step in workflow()["steps"] if "run" in step]
    assert [step["run"] for step in steps] == ours
    assert {step["run"] for step in steps if "if" in step} == NOT_EVERYWHERE
    assert all(step["if"] == "runner.os == 'Linux'" for step in steps if "if" in step)


def test_the_workflow_runs_on_three_systems_and_four_pythons() -> None:
    job = workflow()
    matrix = job["strategy"]["matrix"]
    assert matrix["os"] == ["ubuntu-latest", "windows-latest", "macos-latest"]
    assert matrix["python"] == ["3.11", "3.12", "3.13", "3.14"]
    assert job["runs-on"] == "${{ matrix.os }}"
    assert job["defaults"]["run"]["shell"] == "bash"
    assert [step["uses"].partition("@")[0] for step in job["steps"] if "uses" in step] == [
        "actions/checkout",
        "actions/setup-python",
    ]


def test_the_types_are_checked_for_three_systems() -> None:
    script = (CHECKOUT / "scripts" / "check").read_text("utf-8")
    assert re.search(r"linux darwin win32 \|.* mypy --platform \{\} ", script, re.DOTALL)


def instructions(kind: str) -> list[list[str]]:
    """The words of all instructions of a kind in the Dockerfile, those continued on further lines too."""
    lines = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE)).splitlines()
    return [shlex.split(line)[1:] for line in lines if line.startswith(f"{kind} ")]


def copied() -> list[str]:
    """Paths of the checkout that go into the image."""
    sources = [words[:-1] for words in instructions("COPY") if not words[0].startswith("--from")]
    return [path for words in sources for path in words]


def test_each_copied_path_is_there_and_not_ignored() -> None:
    ignore = [
        line for line in (CHECKOUT / ".dockerignore").read_text().splitlines() if not line.startswith("#")
    ]
    assert ignore[0] == "*"
    let_in = {line[1:] for line in ignore if line.startswith("!")}
    for path in copied():
        assert (CHECKOUT / path).exists()
        assert path in let_in
    assert let_in - {"models"} == set(copied())
    assert "models/*" in ignore[ignore.index("!models") :]


def test_the_image_is_not_roots_and_keeps_its_state_in_a_volume() -> None:
    assert instructions("USER") == [["studio"]]
    assert instructions("VOLUME") == [["/data"]]
    variables = dict(word.split("=", 1) for words in instructions("ENV") for word in words)
    assert variables["LORA_STUDIO_HOME"].startswith("/data/")
    assert variables["LORA_STUDIO_MODELS"].startswith("/data/")
    [first, last] = instructions("FROM")
    assert first[0] == last[0], "what is compiled in one must run in the other"
    assert DOCKERFILE.index("USER studio") > DOCKERFILE.index("COPY --from=build")


def test_compose_hands_on_what_the_studio_reads() -> None:
    services = yaml.safe_load((CHECKOUT / "compose.yaml").read_text("utf-8"))["services"]
    known = (CHECKOUT / "lora_studio" / "settings.py").read_text("utf-8")
    for service in services.values():
        environment = service["environment"]
        assert {"SUPABASE_URL", "SUPABASE_KEY", "SUPABASE_EMAIL", "SUPABASE_PASSWORD"} <= environment.keys()
        assert all(f'"{name}"' in known for name in environment if name != "HF_TOKEN")
        assert ":?" in environment["LORA_STUDIO_PASSWORD"], "nobody gets a studio without a password"
        assert service["ports"] == ["127.0.0.1:7860:7860"]
        assert service["volumes"] == ["studio:/data"]
        assert service["build"]["args"].keys() == {"TORCH"}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the image is Linux")
def test_the_images_command_and_health_check_run(tmp_path: Path) -> None:
    """All but the base image and the download of packages: what is copied is built and installed, and the
    entry point and the health check are run as they stand there."""
    source = copy_files(tracked_files(*copied()), tmp_path / "source")
    programs = fresh_environment(tmp_path / "venv", build(source, tmp_path / "wheel"))
    port, state = free_port(), tmp_path / "data"
    state.mkdir()
    environment = {
        **without_python_variables(),
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "LORA_STUDIO_HOME": str(state / "home"),
        "LORA_STUDIO_MODELS": str(state / "models"),
    }
    [entry] = re.findall(r'^ENTRYPOINT \["(.+)"\]', DOCKERFILE, re.MULTILINE)
    command = yaml.safe_load(re.findall(r"^CMD (\[.+\])", DOCKERFILE, re.MULTILINE)[0])
    check = yaml.safe_load(re.findall(r"^    CMD (\[.+\])", DOCKERFILE, re.MULTILINE)[0])
    words = [str(port) if word == "7860" else word for word in command]
    process = subprocess.Popen(
        [programs / entry, *words],
        cwd=state,
        env={**environment, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    check = [word.replace(":7860", f":{port}") for word in check]
    with running(process, state) as app:
        assert subprocess.run(check, env=environment, cwd=state, check=False).returncode == 0
        address = f"http://127.0.0.1:{port}/"
        assert httpx.get(address + "config", trust_env=False).status_code == 401
        assert app.end() == 0
    assert subprocess.run(check, env=environment, cwd=state, check=False, capture_output=True).returncode == 1
