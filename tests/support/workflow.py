"""The end-to-end script, run as a person would: against an app that it starts itself."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.support.serving import CHECKOUT


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
