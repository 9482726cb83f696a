"""The schema on a real PostgreSQL: what each role may do, with which rows."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg import errors

from tests.support.supabase.cluster import BOOTSTRAP, MIGRATIONS, Cluster
from tests.support.supabase.databases import Postgres
from tests.support.supabase.rows import add_job, add_lora, insert, job_row

TABLES = ("loras", "training_jobs", "job_events", "generated_images")
ALL = {"SELECT", "INSERT", "UPDATE", "DELETE"}
# As in projects from before 2026: whatever is made in the schema public is everybody's.
GENEROUS = """
alter default privileges in schema public grant all on tables to anon, authenticated, service_role;
alter default privileges in schema public grant all on functions to anon, authenticated, service_role;
alter default privileges in schema public grant all on sequences to anon, authenticated, service_role;
grant usage on schema public to anon, authenticated, service_role;
"""


@pytest.mark.parametrize("habit", ["nothing", "everything"])
def test_grants_are_the_same_whatever_a_project_grants_by_itself(cluster: Cluster, habit: str) -> None:
    name = f"grants_{habit}"
    cluster.create(name)
    cluster.run(name, [BOOTSTRAP])
    with cluster.connect(name) as connection:
        if habit == "everything":
            connection.execute(GENEROUS)
        cluster.run(name, sorted(MIGRATIONS.glob("*.sql")))
        grants = connection.execute(
            "select grantee, table_name, privilege_type from information_schema.role_table_grants"
            " where table_schema = 'public' and grantee <> 'postgres'"
        ).fetchall()
        may_call = connection.execute(
            "select rolname from pg_roles where rolname !~ '^pg_|^postgres'"
            " and has_function_privilege(oid, 'public.reap_stale_jobs(interval)', 'execute')"
        ).fetchall()
    found: dict[tuple[str, str], set[str]] = {}
    for role, table, verb in grants:
        found.setdefault((role, table), set()).add(verb)
    assert found == {
        **{("authenticated", table): ALL for table in TABLES if table != "job_events"},
        ("authenticated", "job_events"): {"SELECT", "INSERT"},
        **{("service_role", table): ALL for table in TABLES},
    }
    assert [role for (role,) in may_call] == ["service_role"]


def test_every_table_has_row_level_security(postgres: Postgres) -> None:
    with postgres.connect() as connection:
        rows = connection.execute(
            "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'"
            " and relrowsecurity"
        ).fetchall()
    assert {row[0] for row in rows} == set(TABLES)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize(
    "statement",
    ["select * from {}", "insert into {} default values", "delete from {}", "truncate {}"],
    ids=lambda text: text.split()[0],
)
def test_anon_gets_nothing(postgres: Postgres, table: str, statement: str) -> None:
    with pytest.raises(errors.InsufficientPrivilege), postgres.acting("anon") as connection:
        connection.execute(statement.format(table))


class Two:
    """Two users, each with a LoRA, a job with an event, and an image."""

    def __init__(self, postgres: Postgres) -> None:
        self.postgres = postgres
        self.mine, self.other = uuid4(), uuid4()
        self.rows = {user: self._fill(user) for user in (self.mine, self.other)}

    def _fill(self, user: UUID) -> dict[str, UUID]:
        with self.postgres.acting("authenticated", user) as connection:
            lora = add_lora(connection)
            job = add_job(connection, lora_id=lora, status="running")
            connection.execute("insert into job_events (job_id, seq, kind) values (%s, 1, 'Queued')", (job,))
            image = insert(connection, "generated_images", prompt="a dragon", lora_id=lora, job_id=job)
        return {"loras": lora, "training_jobs": job, "job_events": job, "generated_images": image}


@pytest.fixture
def two(postgres: Postgres) -> Two:
    return Two(postgres)


@pytest.mark.parametrize("table", TABLES)
def test_a_user_sees_their_own_rows_only(two: Two, table: str) -> None:
    key = "job_id" if table == "job_events" else "id"
    with two.postgres.acting("authenticated", two.mine) as connection:
        rows = connection.execute(f"select {key} from {table}").fetchall()
    assert [row[0] for row in rows] == [two.rows[two.mine][table]]


@pytest.mark.parametrize("table", [table for table in TABLES if table != "job_events"])
def test_a_user_changes_no_row_of_another(two: Two, table: str) -> None:
    theirs = two.rows[two.other][table]
    with two.postgres.acting("authenticated", two.mine) as connection:
        assert (
            connection.execute(f"update {table} set created_at = now() where id = %s", (theirs,)).rowcount
            == 0
        )
        assert connection.execute(f"delete from {table} where id = %s", (theirs,)).rowcount == 0
    with two.postgres.connect() as connection:
        owner = connection.execute(f"select owner_id from {table} where id = %s", (theirs,)).fetchone()
    assert owner == (two.other,)


@pytest.mark.parametrize("verb", ["update job_events set message = 'x'", "delete from job_events"])
def test_what_was_said_stays_said(two: Two, verb: str) -> None:
    with (
        pytest.raises(errors.InsufficientPrivilege),
        two.postgres.acting("authenticated", two.mine) as connection,
    ):
        connection.execute(verb)


def test_a_user_writes_nothing_in_the_name_of_another(two: Two) -> None:
    mine, theirs = two.rows[two.mine], two.rows[two.other]
    attempts: list[tuple[str, tuple[Any, ...]]] = [
        ("insert into loras (name, slug, owner_id) values ('x', 'x', %s)", (two.other,)),
        ("insert into training_jobs (owner_id) values (%s)", (two.other,)),
        ("insert into generated_images (prompt, owner_id) values ('x', %s)", (two.other,)),
        ("insert into training_jobs (lora_id) values (%s)", (theirs["loras"],)),
        ("insert into generated_images (prompt, lora_id) values ('x', %s)", (theirs["loras"],)),
        ("insert into generated_images (prompt, job_id) values ('x', %s)", (theirs["training_jobs"],)),
        ("insert into job_events (job_id, seq, kind) values (%s, 9, 'Noted')", (theirs["training_jobs"],)),
        (
            "insert into job_events (job_id, seq, kind, owner_id) values (%s, 9, 'Noted', %s)",
            (mine["training_jobs"], two.other),
        ),
        ("update loras set owner_id = %s where id = %s", (two.other, mine["loras"])),
        ("update training_jobs set owner_id = %s where id = %s", (two.other, mine["training_jobs"])),
        ("update training_jobs set lora_id = %s where id = %s", (theirs["loras"], mine["training_jobs"])),
        # An upsert, as the mirror sends it, under an id that is another's.
        (
            "insert into loras (id, name, slug) values (%s, 'x', 'x')"
            " on conflict (id) do update set name = 'x'",
            (theirs["loras"],),
        ),
        (
            "insert into training_jobs (id) values (%s) on conflict (id) do update set status = 'stopped'",
            (theirs["training_jobs"],),
        ),
    ]
    for statement, values in attempts:
        with (
            pytest.raises(errors.InsufficientPrivilege, match="row-level security"),
            two.postgres.acting("authenticated", two.mine) as connection,
        ):
            connection.execute(statement, values)


def test_rows_without_an_owner_belong_to_the_service_alone(postgres: Postgres) -> None:
    with postgres.acting("service_role") as connection:
        lora = add_lora(connection)
        job = add_job(connection, lora_id=lora)
    with postgres.acting("authenticated", uuid4()) as connection:
        assert connection.execute("select id from loras").fetchall() == []
        with pytest.raises(errors.InsufficientPrivilege), connection.transaction():
            add_job(connection, lora_id=lora)
        with pytest.raises(errors.InsufficientPrivilege), connection.transaction():
            connection.execute("insert into job_events (job_id, seq, kind) values (%s, 1, 'x')", (job,))


@pytest.mark.parametrize("role", ["authenticated", "service_role"])
def test_a_parent_that_is_not_there_yet_is_a_foreign_key_and_no_refusal(
    postgres: Postgres, role: str
) -> None:
    """The mirror waits for the one and stops for the other."""
    for statement in (
        "insert into training_jobs (lora_id) values (%s)",
        "insert into generated_images (prompt, job_id) values ('x', %s)",
        "insert into job_events (job_id, seq, kind) values (%s, 1, 'Queued')",
        "insert into job_events (job_id, seq, kind) values (%s, 1, 'x') on conflict (job_id, seq) do nothing",
    ):
        with pytest.raises(errors.ForeignKeyViolation), postgres.acting(role, uuid4()) as connection:
            connection.execute(statement, (uuid4(),))


@pytest.mark.parametrize("role", ["anon", "authenticated"])
def test_only_the_service_may_reap(postgres: Postgres, role: str) -> None:
    with pytest.raises(errors.InsufficientPrivilege), postgres.acting(role, uuid4()) as connection:
        connection.execute("select reap_stale_jobs()")


def test_a_deleted_lora_leaves_its_training_and_a_deleted_training_takes_its_events(two: Two) -> None:
    mine = two.rows[two.mine]
    with two.postgres.acting("authenticated", two.mine) as connection:
        connection.execute("delete from loras where id = %s", (mine["loras"],))
        assert job_row(connection, mine["training_jobs"], "lora_id") == (None,)
        connection.execute("delete from training_jobs where id = %s", (mine["training_jobs"],))
        assert connection.execute("select * from job_events").fetchall() == []
        assert connection.execute("select job_id from generated_images").fetchall() == [(None,)]


def test_files_are_kept_apart_by_each_policy_of_its_own(two: Two) -> None:
    """Without a where and a returning, which would ask the policy for reading too."""
    add = "insert into storage.objects (bucket_id, name) values (%s, %s)"
    with two.postgres.connect() as connection:
        connection.execute(
            "insert into storage.buckets (id, name) values ('other', 'other') on conflict do nothing"
        )
    with two.postgres.acting("authenticated", two.mine) as connection:
        connection.execute(add, ("loras", f"{two.mine}/a"))
        for bucket, name in (("loras", f"{two.other}/a"), ("loras", "a"), ("other", f"{two.mine}/a")):
            with pytest.raises(errors.InsufficientPrivilege), connection.transaction():
                connection.execute(add, (bucket, name))
    with two.postgres.acting("authenticated", two.other) as connection:
        assert connection.execute("update storage.objects set updated_at = now()").rowcount == 0
        assert connection.execute("delete from storage.objects").rowcount == 0
    with two.postgres.acting("authenticated", two.mine) as connection:
        with pytest.raises(errors.InsufficientPrivilege), connection.transaction():
            connection.execute("update storage.objects set name = %s", (f"{two.other}/a",))
        assert connection.execute("delete from storage.objects").rowcount == 1
