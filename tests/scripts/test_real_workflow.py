"""The end-to-end script where there is no studio; tests/integration/test_workflow_script.py has one."""

from __future__ import annotations

import pytest

from tests.support.workflow import workflow


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://127.0.0.1:9/studio/"])
def test_a_studio_that_is_not_there_is_told_apart(url: str) -> None:
    run = workflow("--url", url)
    assert run.returncode == 2
    assert "Connect" in run.stdout
    assert "could not begin" in run.stderr
