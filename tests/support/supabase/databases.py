"""One database of the tests' PostgreSQL, and those that it is copied from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from tests.support.supabase.access import become
from tests.support.supabase.cluster import Cluster

BARE, TEMPLATE = "bare", "template_studio"


@dataclass(frozen=True)
class Postgres:
    """One database: bootstrap and migrations are in it, rows are not. `connect` is the superuser's way in."""

    cluster: Cluster
    name: str

    @property
    def url(self) -> str:
        return self.cluster.url(self.name)

    def connect(self) -> psycopg.Connection[Any]:
        return self.cluster.connect(self.name)

    @contextmanager
    def acting(self, role: str, user_id: object = "") -> Iterator[psycopg.Connection[Any]]:
        """A transaction in somebody's name, as the Data API makes one for each request."""
        claims = {"role": role, **({"sub": str(user_id)} if user_id else {})}
        with self.connect() as connection, connection.transaction():
            become(connection.cursor(), claims)
            yield connection
