"""The end-to-end script, run as a person would, and what it says where all is well."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence

from tests.support.serving import CHECKOUT

ONE_PREVIEW = json.dumps(
    {"sample_every_n_steps": 10, "save_every_n_steps": 10, "sample_steps": 2, "sample_prompts": ["zwx"]}
)


def workflow(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = (
        [sys.executable, "-m", "scripts.real_workflow", *arguments]
        if os.name == "nt"
        else ["scripts/test_real_workflow.sh", *arguments]
    )
    return subprocess.run(
        command,
        cwd=CHECKOUT,
        env={**os.environ, "PYTHON": sys.executable, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def assert_all_passed(run: subprocess.CompletedProcess[str], stores: Sequence[str]) -> None:
    """Of the whole job, whose status these stores were asked for."""
    assert run.returncode == 0, run.stdout + run.stderr
    lines = run.stdout.splitlines()
    assert lines[-1] == "All passed."
    assert [line for line in lines if line.startswith("FAIL")] == []
    for said in ("progress rises to 100 %", "equal to the last pixel", "LoRA changes the picture"):
        assert any(line.startswith("PASS") and said in line for line in lines), said
    assert [line.split(" ")[3] for line in lines if "deleted again" in line] == ["images", "LoRA", "pictures"]
    told = [line for line in lines if "check_model_status" in line]
    assert [line.startswith("PASS") and store in line for line, store in zip(told, stores, strict=True)] == [
        True for _ in stores
    ]
