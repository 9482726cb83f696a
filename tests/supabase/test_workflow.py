"""The whole job over HTTP with a project: its status is in the store and in Supabase alike."""

from __future__ import annotations

import pytest

from tests.support.supabase.server import Server
from tests.support.workflow import ONE_PREVIEW, assert_all_passed, workflow


@pytest.fixture
def project(request: pytest.FixtureRequest) -> Server | None:
    """None where there is no PostgreSQL: the job itself is run all the same."""
    try:
        server: Server = request.getfixturevalue("server")
    except pytest.skip.Exception:
        return None
    return server


@pytest.mark.slow
def test_the_whole_job_passes_and_its_status_is_the_same_everywhere(project: Server | None) -> None:
    facts = {"SUPABASE_URL": project.url, "SUPABASE_KEY": project.service_key} if project else {}
    run = workflow("--steps", "10", "--options", ONE_PREVIEW, **facts)
    assert_all_passed(run, ["(local)", "(supabase)"] if project else ["(local)"])
    assert project is None or project.service_key not in run.stdout + run.stderr
