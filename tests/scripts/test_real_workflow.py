"""The end-to-end script, run as a person would: against an app that it starts itself."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.serving import CHECKOUT


def workflow(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SUPABASE_")}
    command = (
        [sys.executable, "-m", "scripts.real_workflow", *arguments]
        if os.name == "nt"
        else ["scripts/test_real_workflow.sh", *arguments]
    )
    return subprocess.run(
        command,
        cwd=CHECKOUT,
        env={**environment, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def test_the_whole_job_passes_over_http() -> None:
    run = workflow("--steps", "20", "--options", '{"sample_every_n_steps": 10}')
    lines = run.stdout.splitlines()
    assert run.returncode == 0, run.stdout + run.stderr
    assert lines[-1] == "All passed."
    assert [line for line in lines if line.startswith("FAIL")] == []
    for said in ("progress rises to 100 %", "(local)", "equal to the last pixel", "LoRA changes the picture"):
        assert any(line.startswith("PASS") and said in line for line in lines), said
    assert [line.split(" ")[3] for line in lines if "deleted again" in line] == ["images", "LoRA", "pictures"]


def test_what_goes_wrong_is_a_line_and_an_exit_code() -> None:
    run = workflow("--steps", "0")
    assert run.returncode == 1
    failed = [line for line in run.stdout.splitlines() if line.startswith("FAIL")]
    assert len(failed) == 1
    assert "max_train_steps" in failed[0]


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://127.0.0.1:9/studio/"])
def test_a_studio_that_is_not_there_is_told_apart(url: str) -> None:
    run = workflow("--url", url)
    assert run.returncode == 2
    assert "Connect" in run.stdout
    assert "could not begin" in run.stderr
