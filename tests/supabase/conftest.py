"""A PostgreSQL for the whole run; for each module a database of its own with our schema, a server over it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.supabase import places, vendor
from tests.support.supabase.cluster import BOOTSTRAP, MIGRATIONS, Cluster, running_cluster
from tests.support.supabase.databases import BARE, TEMPLATE, Postgres
from tests.support.supabase.mirroring import Home, Open, Rows, open_home
from tests.support.supabase.server import Server
from tests.support.supabase.vendor import Lite, Programs, running_lite

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A running PostgreSQL with two databases to copy: `bare`, as a project is before our migrations, and
    `template_studio`, as it is after them."""
    programs = places.find_postgres()
    if programs is None:
        pytest.skip(places.HOW_TO_GET_POSTGRES)
    with running_cluster(programs) as running:
        running.create(BARE)
        running.run(BARE, [BOOTSTRAP])
        running.create(TEMPLATE, BARE)
        running.run(TEMPLATE, sorted(MIGRATIONS.glob("*.sql")))
        yield running


@pytest.fixture(scope="session")
def programs() -> Programs:
    """Supabase's own programs."""
    found = vendor.find()
    if found is None:
        pytest.skip(places.HOW_TO_GET_PROGRAMS)
    return found


@pytest.fixture(scope="module")
def lite(cluster: Cluster, programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lite]:
    """The vendor's lightweight server over a database of its own, for the Data API: its sign-in and half its
    Storage do not work with the Python client."""
    database = cluster.create(f"lite_{next(_numbers)}")
    tables = [file for file in sorted(MIGRATIONS.glob("*.sql")) if "storage" not in file.name]
    with running_lite(programs, tmp_path_factory.mktemp("lite"), database, tables) as running:
        yield running


@pytest.fixture(scope="module")
def postgres(cluster: Cluster) -> Postgres:
    """This module's database."""
    name = f"studio_{next(_numbers)}"
    cluster.create(name, TEMPLATE)
    return Postgres(cluster, name)


@pytest.fixture(scope="module")
def server(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Supabase over this module's database; `stop` and `start` make an outage."""
    running = Server(postgres.url, tmp_path_factory.mktemp("objects"))
    running.start()
    yield running
    running.close()


@pytest.fixture
def opened(server: Server, tmp_path: Path) -> Iterator[Open]:
    """Open machines on the test's project, with a secret key unless told otherwise, each in its own folder or
    in that of the number `at`."""
    with ExitStack() as stack:
        folders = iter(range(100))

        def build(*, at: int | None = None, **changes: Any) -> Home:
            facts = {"supabase_url": server.url, "supabase_key": server.service_key}
            folder = tmp_path / str(next(folders) if at is None else at)
            return stack.enter_context(open_home(folder, **facts | changes))

        yield build


@pytest.fixture
def rows(postgres: Postgres) -> Rows:
    """Ask the database itself, past all policies."""

    def ask(sql: str, *given: Any) -> list[tuple[Any, ...]]:
        with postgres.connect() as connection:
            return connection.execute(sql, given).fetchall()

    return ask
