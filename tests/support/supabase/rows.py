"""Rows of the mirror, written as the mirror writes them."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg import sql


def add_lora(connection: psycopg.Connection[Any], slug: str = "", **values: Any) -> UUID:
    return insert(connection, "loras", name="Dragon", slug=slug or uuid4().hex, **values)


def add_job(connection: psycopg.Connection[Any], **values: Any) -> UUID:
    return insert(connection, "training_jobs", **values)


def insert(connection: psycopg.Connection[Any], table: str, **values: Any) -> UUID:
    values = {"id": uuid4(), **values}
    statement = sql.SQL("insert into {} ({}) values ({})").format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, values)),
        sql.SQL(", ").join(sql.Placeholder(name) for name in values),
    )
    connection.execute(statement, values)
    return UUID(str(values["id"]))


def upsert(connection: psycopg.Connection[Any], job: UUID, **values: Any) -> int:
    """As the mirror writes a job; how many rows that changed."""
    columns = ["id", *values]
    statement = sql.SQL(
        "insert into training_jobs ({}) values ({}) on conflict (id) do update set {}"
    ).format(
        sql.SQL(", ").join(map(sql.Identifier, columns)),
        sql.SQL(", ").join(map(sql.Placeholder, columns)),
        sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in values),
    )
    return connection.execute(statement, {"id": job, **values}).rowcount


def job_row(connection: psycopg.Connection[Any], job: UUID, columns: str) -> tuple[Any, ...]:
    row = connection.execute(f"select {columns} from training_jobs where id = %s", (job,)).fetchone()
    assert row is not None
    return tuple(row)
