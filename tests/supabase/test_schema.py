"""The schema on a real PostgreSQL: what its columns refuse, what its triggers keep of a training."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import errors

from lora_studio.records import JobStatus
from tests.support.supabase.cluster import MIGRATIONS
from tests.support.supabase.databases import Postgres
from tests.support.supabase.rows import add_lora, job_row, upsert


def test_migrations_have_names_that_supabase_takes_in_their_order() -> None:
    names = sorted(path.name for path in MIGRATIONS.iterdir())
    assert all(len(name.split("_")[0]) == 14 and name[:14].isdigit() for name in names), names
    assert names[0].endswith("_init.sql")
    assert all(first[:14] < second[:14] for first, second in pairwise(names))


def test_statuses_are_those_of_the_local_store(postgres: Postgres) -> None:
    with postgres.connect() as connection:
        rows = connection.execute("select unnest(enum_range(null::job_status))::text").fetchall()
    assert {row[0] for row in rows} == {status.value for status in JobStatus}


def test_two_machines_may_each_have_a_lora_of_that_name(postgres: Postgres) -> None:
    slug = uuid4().hex
    with postgres.acting("service_role") as connection:
        add_lora(connection, slug, worker_id="one")
        add_lora(connection, slug, worker_id="two")
        with pytest.raises(errors.UniqueViolation), connection.transaction():
            add_lora(connection, slug, worker_id="one")


def test_what_comes_late_is_dropped_without_an_error(postgres: Postgres) -> None:
    job = uuid4()
    with postgres.acting("authenticated", uuid4()) as connection:
        assert upsert(connection, job, seq=5, status="running", step=50) == 1
        assert upsert(connection, job, seq=4, status="running", step=40) == 0
        assert upsert(connection, job, seq=5, status="running", step=50) == 1, (
            "the same once more does no harm"
        )
        assert upsert(connection, job, seq=6, status="finished", step=60, progress=100) == 1
        assert upsert(connection, job, seq=5, status="running", step=50) == 0
        assert job_row(connection, job, "status, step, seq") == ("finished", 60, 6)


@pytest.mark.parametrize("final", ["finished", "failed", "stopped"])
def test_a_final_state_is_left_by_a_new_run_only(postgres: Postgres, final: str) -> None:
    job = uuid4()
    with postgres.acting("authenticated", uuid4()) as connection:
        upsert(connection, job, seq=7, status=final, progress=100)
        with pytest.raises(errors.CheckViolation, match=f"already {final}"), connection.transaction():
            upsert(connection, job, seq=8, status="running")
        assert upsert(connection, job, seq=8, run=2, status="queued", progress=0) == 1
        assert upsert(connection, job, seq=9, run=1, status=final, progress=100) == 0, "late: the run before"
        assert job_row(connection, job, "status, run") == ("queued", 2)


@pytest.mark.parametrize("state", ["paused", "interrupted"])
def test_a_state_that_is_not_final_may_go_on(postgres: Postgres, state: str) -> None:
    job = uuid4()
    with postgres.acting("authenticated", uuid4()) as connection:
        upsert(connection, job, seq=7, status=state)
        assert upsert(connection, job, seq=8, status="running") == 1


def versions_of_a_job() -> list[dict[str, Any]]:
    """What a job says of itself over three runs, the last of them finished."""
    said = []
    for run, states in enumerate(
        (["queued", "running", "stopped"], ["queued", "failed"], ["queued", "finished"])
    ):
        for state in states:
            progress = 100 if state == "finished" else len(said)
            said.append({"run": run + 1, "seq": len(said) + 1, "status": state, "progress": progress})
    return said


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.lists(st.integers(0, 6), max_size=14))
def test_in_whatever_order_a_job_arrives_its_last_word_stands(postgres: Postgres, order: list[int]) -> None:
    job, said = uuid4(), versions_of_a_job()
    arriving = [*order, len(said) - 1, *order]
    with postgres.connect() as connection:
        for index in arriving:
            upsert(connection, job, **said[index])
        assert job_row(connection, job, "run, seq, status, progress") == tuple(said[-1].values())


def test_another_worker_leaves_a_run_alone(postgres: Postgres) -> None:
    job = uuid4()
    with postgres.acting("service_role") as connection:
        upsert(connection, job, seq=3, worker_id="one", status="running")
        with pytest.raises(errors.CheckViolation, match="another worker"), connection.transaction():
            upsert(connection, job, seq=4, worker_id="two", status="failed")
        assert upsert(connection, job, seq=4, run=2, worker_id="two", status="queued") == 1


@pytest.mark.parametrize(
    ("wish", "before", "answer", "left"),
    [
        ("stop", "running", {"status": "stopped"}, "none"),
        ("stop", "running", {"status": "finished", "progress": 100}, "none"),
        ("stop", "running", {"status": "running"}, "stop"),
        ("stop", "running", {"status": "paused"}, "stop"),
        ("pause", "running", {"status": "paused"}, "none"),
        ("pause", "running", {"status": "pausing"}, "pause"),
        ("resume", "paused", {"status": "queued", "run": 2}, "none"),
        ("resume", "paused", {"status": "paused"}, "resume"),
        ("resume", "stopped", {"status": "queued", "run": 2}, "none"),
        ("stop", "stopped", {}, "none"),
        ("stop", "interrupted", {"status": "queued", "run": 2}, "none"),
    ],
)
def test_a_wish_is_gone_once_it_is_granted(
    postgres: Postgres, wish: str, before: str, answer: dict[str, Any], left: str
) -> None:
    job, user = uuid4(), uuid4()
    with postgres.acting("authenticated", user) as connection:
        upsert(connection, job, seq=3, status=before)
        connection.execute("update training_jobs set desired_state = %s where id = %s", (wish, job))
        assert job_row(connection, job, "status, seq") == (before, 3)
        if answer:
            assert upsert(connection, job, **{"seq": 4, **answer}) == 1
        assert job_row(connection, job, "desired_state") == (left,)


def test_silent_trainings_are_interrupted_and_may_speak_again(postgres: Postgres) -> None:
    silent, lively, waiting, done = (uuid4() for _ in range(4))
    with postgres.connect() as connection:
        for job, status in ((silent, "pausing"), (lively, "running"), (waiting, "queued"), (done, "failed")):
            upsert(connection, job, seq=1, status=status, heartbeat_at="2020-01-01")  # a clock that is wrong
        age = "update training_jobs set seen_at = now() - interval '1 hour' where id = any(%s)"
        connection.execute(age, ([silent, waiting, done],))
        with postgres.acting("service_role") as service:
            assert service.execute("select reap_stale_jobs('10 minutes')").fetchone() == (1,)
        assert job_row(connection, silent, "status, reaped_at is null") == ("interrupted", False)
        assert [job_row(connection, job, "status")[0] for job in (lively, waiting, done)] == [
            *("running", "queued", "failed")
        ]
        assert upsert(connection, silent, seq=2, status="running", heartbeat_at="2020-01-01") == 1
        assert job_row(connection, silent, "status, reaped_at, now() - seen_at < '1 minute'") == (
            *("running", None, True),
        )


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("insert into training_jobs (progress) values (100.5)", errors.CheckViolation),
        ("insert into training_jobs (status, progress) values ('finished', 99)", errors.CheckViolation),
        ("insert into training_jobs (step) values (-1)", errors.CheckViolation),
        ("insert into training_jobs (status) values ('cancelled')", errors.InvalidTextRepresentation),
        ("insert into loras (name, slug) values ('', 'x')", errors.CheckViolation),
        ("insert into loras (name, slug, artifact_sha256) values ('x', 'x', 'ABC')", errors.CheckViolation),
        ("insert into loras (slug) values ('x')", errors.NotNullViolation),
        ("insert into generated_images (prompt, width) values ('x', 0)", errors.CheckViolation),
    ],
)
def test_nonsense_is_refused(postgres: Postgres, statement: str, error: type[Exception]) -> None:
    with pytest.raises(error), postgres.connect() as connection:
        connection.execute(statement)


def test_the_schema_says_which_postgresql_it_needs() -> None:
    assert "PostgreSQL 15" in Path(sorted(MIGRATIONS.glob("*.sql"))[0]).read_text(encoding="utf-8")
