"""What the developer guide walks through stands in the code where it says, and its example runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.serving import CHECKOUT
from tests.support.waiting import PATIENCE

PAGES = [CHECKOUT / "docs" / "developers.md", *sorted((CHECKOUT / "docs" / "develop").glob("*.md"))]


@pytest.mark.slow  # twenty steps on the starter
def test_the_engine_runs_without_the_studio(tmp_path: Path) -> None:
    (script,) = (
        block
        for page in PAGES
        for block in re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
        if "trainer import train" in block
    )
    assert '"max_train_steps": 20,' in script
    script = script.replace('"examples/ink"', repr(str(CHECKOUT / "examples" / "ink")))
    run = subprocess.run(
        [
            sys.executable,
            "-c",
            script.replace('"max_train_steps": 20,', '"max_train_steps": 2, "sample_every_n_steps": 0,'),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), "LORA_STUDIO_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert "Finished(" in run.stdout, run.stderr
    assert list(tmp_path.glob("ink/*.safetensors"))
