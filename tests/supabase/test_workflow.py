"""The whole job over HTTP with a project set up: its status is in the store and in Supabase alike."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.supabase.server import Server

CHECKOUT = Path(__file__).resolve().parents[2]
ONE_PREVIEW = '{"sample_every_n_steps": 10, "save_every_n_steps": 10}'


def test_the_status_is_the_same_everywhere(server: Server) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "scripts.real_workflow", "--steps", "10", "--options", ONE_PREVIEW],
        cwd=CHECKOUT,
        env={**os.environ, "SUPABASE_URL": server.url, "SUPABASE_KEY": server.service_key},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    told = [line for line in run.stdout.splitlines() if "check_model_status" in line]
    assert [line[:4] for line in told] == ["PASS", "PASS"]
    assert ["(local)" in told[0], "(supabase)" in told[1]] == [True, True]
    assert server.service_key not in run.stdout + run.stderr
