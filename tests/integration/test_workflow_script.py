"""The end-to-end script against a running studio; tests/supabase/test_workflow.py has one with a project."""

from __future__ import annotations

import pytest

from tests.support.serving import App
from tests.support.workflow import ONE_PREVIEW, assert_all_passed, workflow


@pytest.mark.slow
def test_the_whole_job_passes(app: App) -> None:
    run = workflow(
        *("--url", app.address, "--steps", "10", "--options", ONE_PREVIEW), LORA_STUDIO_HOME=str(app.home)
    )
    assert_all_passed(run, ["(local)"])


def test_what_goes_wrong_is_a_line_and_an_exit_code(app: App) -> None:
    run = workflow("--url", app.address, "--steps", "0")
    assert run.returncode == 1
    failed = [line for line in run.stdout.splitlines() if line.startswith("FAIL")]
    assert len(failed) == 1
    assert "max_train_steps" in failed[0]
