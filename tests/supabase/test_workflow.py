"""The whole job over HTTP, as a person would run it, with a project set up: its status is in the store and in
Supabase alike."""

from __future__ import annotations

import pytest

from tests.support.supabase.server import Server
from tests.support.workflow import workflow

ONE_PREVIEW = '{"sample_every_n_steps": 10, "save_every_n_steps": 10}'


@pytest.fixture
def project(request: pytest.FixtureRequest) -> Server | None:
    """None where there is no PostgreSQL: the job itself is run all the same."""
    try:
        server: Server = request.getfixturevalue("server")
    except pytest.skip.Exception:
        return None
    return server


def test_the_whole_job_passes_and_its_status_is_the_same_everywhere(project: Server | None) -> None:
    facts = {"SUPABASE_URL": project.url, "SUPABASE_KEY": project.service_key} if project else {}
    run = workflow("--steps", "10", "--options", ONE_PREVIEW, **facts)
    assert run.returncode == 0, run.stdout + run.stderr
    lines = run.stdout.splitlines()
    assert lines[-1] == "All passed."
    assert [line for line in lines if line.startswith("FAIL")] == []
    for said in ("progress rises to 100 %", "equal to the last pixel", "LoRA changes the picture"):
        assert any(line.startswith("PASS") and said in line for line in lines), said
    assert [line.split(" ")[3] for line in lines if "deleted again" in line] == ["images", "LoRA", "pictures"]
    told = [line for line in lines if "check_model_status" in line]
    stores = ["(local)", "(supabase)"] if project else ["(local)"]
    assert [line.startswith("PASS") and store in line for line, store in zip(told, stores, strict=True)] == [
        True for _ in stores
    ]
    assert project is None or project.service_key not in run.stdout + run.stderr
