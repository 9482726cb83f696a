"""The end-to-end script where the job fails, and where there is no studio. The whole job is in
tests/supabase/test_workflow.py."""

from __future__ import annotations

import pytest

from tests.support.workflow import workflow


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
