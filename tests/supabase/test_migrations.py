"""The migrations through Supabase's official command line, as docs/supabase.md tells people to run them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.supabase.cluster import MIGRATIONS, Cluster
from tests.support.supabase.databases import BARE, Postgres
from tests.support.supabase.vendor import CLI, Programs

VERSIONS = [path.name[:14] for path in sorted(MIGRATIONS.glob("*.sql"))]
# Whatever a migration makes, as text that does not depend on the database.
CATALOG = """
select 'column', table_name || '.' || column_name || ' ' || data_type || ' ' || coalesce(column_default, '')
  from information_schema.columns where table_schema in ('public', 'storage')
union all select 'policy', tablename || ' ' || policyname || ' ' || cmd || ' ' || coalesce(qual, '')
  || ' ' || coalesce(with_check, '') from pg_policies
union all select 'index', indexdef from pg_indexes where schemaname = 'public'
union all select 'trigger', tgname || ' ' || pg_get_triggerdef(oid) from pg_trigger where not tgisinternal
union all select 'function', pg_get_functiondef(oid) || ' ' || coalesce(proacl::text, '')
  from pg_proc where pronamespace in ('public'::regnamespace, 'studio'::regnamespace)
union all select 'grant', oid::regclass || ' ' || coalesce(relacl::text, '') from pg_class
  where relnamespace = 'public'::regnamespace
union all select 'bucket', to_jsonb(b)::text from (select id, public, file_size_limit, allowed_mime_types
  from storage.buckets) b order by 1, 2
"""


def catalog(cluster: Cluster, database: str) -> list[Any]:
    with cluster.connect(database) as connection:
        return connection.execute(CATALOG).fetchall()


def test_the_official_command_line_applies_them(
    cluster: Cluster, programs: Programs, postgres: Postgres, tmp_path: Path
) -> None:
    address = cluster.create("pushed", BARE) + "?sslmode=disable"
    shutil.copytree(MIGRATIONS.parent, tmp_path / "supabase")

    def run(*arguments: str) -> str:
        done = programs.run(CLI, [*arguments, "--db-url", address], tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    run("db", "push", "--yes")
    listed = run("migration", "list")
    assert all(listed.count(version) >= 2 for version in VERSIONS), listed
    assert "up to date" in run("db", "push", "--yes")
    assert catalog(cluster, "pushed") == catalog(cluster, postgres.name)


def test_a_migration_that_fails_leaves_nothing_behind(cluster: Cluster) -> None:
    cluster.create("half", "template0")  # without Supabase's own roles and tables
    with pytest.raises(Exception, match="does not exist"):
        cluster.run("half", sorted(MIGRATIONS.glob("*.sql")))
    with cluster.connect("half") as connection:
        tables = connection.execute(
            "select 1 from pg_class where relnamespace = 'public'::regnamespace"
        ).fetchall()
    assert tables == []
