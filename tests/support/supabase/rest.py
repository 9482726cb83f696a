"""The part of PostgREST that a mirror needs, over real PostgreSQL: it makes the rows' JSON and its errors.

Whatever is outside that part is refused with PGRST100, never guessed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from tests.support.supabase.access import Cursor, Refused

OPERATORS = {
    **{"eq": "=", "neq": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="},
    **{"like": "like", "ilike": "ilike", "cs": "@>"},
}
IS = {"null", "true", "false", "unknown"}
RESERVED = {"select", "order", "limit", "offset", "columns", "on_conflict"}
# From PostgREST's documentation; the longest beginning counts.
STATUS = {
    **{
        "08": 503,
        "53": 503,
        "53400": 500,
        "23503": 409,
        "23505": 409,
        "25006": 405,
        "42P01": 404,
        "42883": 404,
    },
    **{"40": 500, "54": 500, "55": 500, "57": 500, "58": 500, "XX": 500},
}


@dataclass(frozen=True)
class Ask:
    """A request for one table or function. `query` keeps the order and the repetitions of its parameters."""

    method: str
    name: str
    query: Sequence[tuple[str, str]]
    headers: Mapping[str, str]
    body: Any = None

    def parameter(self, name: str, default: str = "") -> str:
        return next((value for key, value in self.query if key == name), default)

    def prefers(self, what: str) -> bool:
        return what in [part.strip() for part in self.headers.get("prefer", "").split(",")]

    @property
    def wants_one(self) -> bool:
        return "vnd.pgrst.object" in self.headers.get("accept", "")


@dataclass(frozen=True)
class Answer:
    status: int
    body: str = ""
    content_range: str = ""


@dataclass(frozen=True)
class Column:
    type: str
    default: str | None


def unsupported(what: str) -> Refused:
    return Refused(
        400, {"code": "PGRST100", "message": f"not in this server: {what}", "details": None, "hint": None}
    )


def database_error(error: psycopg.Error, role: str) -> Refused:
    code = error.sqlstate or "08000"
    if code == "42501":
        status = 401 if role == "anon" else 403
    else:
        status = STATUS.get(code, STATUS.get(code[:2], 400))
    diag = error.diag
    return Refused(
        status,
        {
            "code": code,
            "message": diag.message_primary or str(error),
            "details": diag.message_detail,
            "hint": diag.message_hint,
        },
    )


def columns_of(cursor: Cursor, table: str) -> dict[str, Column]:
    """Type and default of a table's columns. Raises Refused for a table that is not there."""
    cursor.execute(
        "select attname, format_type(atttypid, atttypmod) as type, pg_get_expr(adbin, adrelid) as default_"
        " from pg_attribute left join pg_attrdef on adrelid = attrelid and adnum = attnum"
        " where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped",
        (f'public."{table}"',),
    )
    found = {row["attname"]: Column(row["type"], row["default_"]) for row in cursor.fetchall()}
    if not found:
        message = f"Could not find the table 'public.{table}' in the schema cache"
        raise Refused(404, {"code": "PGRST205", "message": message, "details": None, "hint": None})
    return found


def answer(cursor: Cursor, ask: Ask, columns: Mapping[str, Column]) -> Answer:
    """Run a request on a table, inside a transaction that has the caller's role."""
    match ask.method:
        case "GET" | "HEAD":
            return _read(cursor, ask)
        case "POST":
            return _insert(cursor, ask, columns)
        case "PATCH":
            return _update(cursor, ask, columns)
        case "DELETE":
            statement = sql.SQL("delete from {} where {}").format(_table(ask), _where(ask))
            return _write(cursor, ask, statement, 204)
    raise unsupported(ask.method)


def call(cursor: Cursor, ask: Ask) -> Answer:
    """Run a function of the schema public with named arguments that returns one value."""
    arguments = dict(ask.body or {})
    cursor.execute(
        "select 1 from pg_proc where proname = %s and pronamespace = 'public'::regnamespace", (ask.name,)
    )
    if cursor.fetchone() is None:
        message = f"Could not find the function public.{ask.name} in the schema cache"
        raise Refused(404, {"code": "PGRST202", "message": message, "details": None, "hint": None})
    named = sql.SQL(", ").join(
        sql.SQL("{} => {}").format(sql.Identifier(key), sql.Literal(value))
        for key, value in arguments.items()
    )
    cursor.execute(
        sql.SQL("select to_json({}({}))::text as body").format(sql.Identifier("public", ask.name), named)
    )
    return Answer(200, (cursor.fetchone() or {})["body"])


def _table(ask: Ask) -> sql.Composable:
    return sql.Identifier("public", ask.name)


def _selected(ask: Ask) -> sql.Composable:
    names = [name.strip('"') for name in ask.parameter("select", "*").split(",")]
    if any(not re.fullmatch(r"\*|\w+", name) for name in names):
        raise unsupported(f"select={ask.parameter('select')}")
    return sql.SQL(", ").join(sql.SQL("*") if name == "*" else sql.Identifier(name) for name in names)


def _where(ask: Ask) -> sql.Composable:
    parts = [_filter(ask, key, value) for key, value in ask.query if key not in RESERVED]
    return sql.SQL(" and ").join(parts) if parts else sql.SQL("true")


def _filter(ask: Ask, key: str, value: str) -> sql.Composable:
    if key in ("or", "and"):
        inner = (part.split(".", 1) for part in _split(value.strip()[1:-1]))
        return sql.SQL("({})").format(sql.SQL(f" {key} ").join(_filter(ask, *pair) for pair in inner))
    if not re.fullmatch(r"\w+", key):
        raise unsupported(f"filter {key}")
    column, (operator, _, operand) = sql.Identifier("public", ask.name, key), value.partition(".")
    if operator == "not":
        return sql.SQL("not ({})").format(_filter(ask, key, operand))
    if operator == "in" and operand[:1] + operand[-1:] == "()":
        wanted = [sql.Literal(_unquoted(part)) for part in _split(operand[1:-1])]
        return (
            sql.SQL("{} in ({})").format(column, sql.SQL(", ").join(wanted)) if wanted else sql.SQL("false")
        )
    if operator == "is" and operand.lower() in IS:
        return sql.SQL("{} is {}").format(column, sql.SQL(operand.lower()))
    if operator not in OPERATORS:
        raise unsupported(f"operator {operator}")
    if operator in ("like", "ilike"):
        operand = operand.replace("*", "%")
    return sql.SQL("{} {} {}").format(column, sql.SQL(OPERATORS[operator]), sql.Literal(operand))


def _split(text: str) -> list[str]:
    """At commas outside quotes and brackets."""
    return [part for part in re.findall(r'(?:"(?:\\.|[^"\\])*"|\([^()]*\)|\{[^{}]*\}|[^,])+', text) if part]


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if len(text) > 1 and text[0] == text[-1] == '"' else text


def _order(ask: Ask) -> sql.Composable:
    parts = []
    for part in filter(None, ask.parameter("order").split(",")):
        found = re.fullmatch(r"(\w+)(\.asc|\.desc)?(\.nullsfirst|\.nullslast)?", part)
        if not found:
            raise unsupported(f"order={part}")
        nulls = (found[3] or "").replace(".nulls", " nulls ")
        parts.append(sql.Identifier(found[1]) + sql.SQL(f"{(found[2] or '').replace('.', ' ')}{nulls}"))
    return sql.SQL(" order by {}").format(sql.SQL(", ").join(parts)) if parts else sql.SQL("")


def _number(ask: Ask, name: str) -> int | None:
    text = ask.parameter(name)
    if text and not text.isdigit():
        raise unsupported(f"{name}={text}")
    return int(text) if text else None


def _read(cursor: Cursor, ask: Ask) -> Answer:
    limit, offset = _number(ask, "limit"), _number(ask, "offset") or 0
    rows = sql.SQL("select {} from {} where {}{} limit {} offset {}").format(
        _selected(ask), _table(ask), _where(ask), _order(ask), sql.Literal(limit), sql.Literal(offset)
    )
    cursor.execute(_as_json(rows))
    body, count = _found(cursor)
    total = "*"
    if ask.prefers("count=exact"):
        cursor.execute(sql.SQL("select count(*) as n from {} where {}").format(_table(ask), _where(ask)))
        total = str((cursor.fetchone() or {})["n"])
        if offset and offset >= int(total):
            message = "Requested range not satisfiable"
            details = f"An offset of {offset} was requested, but there are only {total} rows."
            raise Refused(416, {"code": "PGRST103", "message": message, "details": details, "hint": None})
    span = f"{offset}-{offset + count - 1}/{total}" if count else f"*/{total}"
    status = 206 if total != "*" and count < int(total) else 200
    return Answer(status, _one(body, count) if ask.wants_one else body, span)


def _insert(cursor: Cursor, ask: Ask, columns: Mapping[str, Column]) -> Answer:
    rows = ask.body if isinstance(ask.body, list) else [ask.body]
    # Rows that differ in their keys: the client names the union of them, and what a row lacks is null.
    names = [_unquoted(name) for name in _split(ask.parameter("columns"))] or list(rows[0] if rows else {})
    fields = _known(ask, columns, names)
    conflict = sql.SQL("")
    if ask.prefers("resolution=merge-duplicates") or ask.prefers("resolution=ignore-duplicates"):
        keys = [name for name in ask.parameter("on_conflict").split(",") if name] or _primary_key(cursor, ask)
        target = sql.SQL(", ").join(map(sql.Identifier, keys))
        sets = sql.SQL(", ").join(
            sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in names
        )
        merges = ask.prefers("resolution=merge-duplicates") and names
        action = sql.SQL("update set {}").format(sets) if merges else sql.SQL("nothing")
        conflict = sql.SQL(" on conflict ({}) do {}").format(target, action)
    listed = sql.SQL(", ").join(map(sql.Identifier, names))
    statement = sql.SQL(
        "insert into {table} ({listed}) select {listed} from"
        " (select {defaults} || value as row from jsonb_array_elements({body}::jsonb)) as rows,"
        " lateral jsonb_to_record(row) as fields({fields}){conflict}"
    ).format(
        table=_table(ask),
        listed=listed,
        defaults=_defaults(names, columns) if ask.prefers("missing=default") else sql.SQL("'{}'::jsonb"),
        body=sql.Literal(json.dumps(rows)),
        fields=fields,
        conflict=conflict,
    )
    return _write(cursor, ask, statement, 201)


def _defaults(names: Sequence[str], columns: Mapping[str, Column]) -> sql.Composable:
    pairs = [
        sql.SQL("{}, {}").format(sql.Literal(name), sql.SQL(default))
        for name in names
        if (default := columns[name].default) is not None
    ]
    return sql.SQL("jsonb_build_object({})").format(sql.SQL(", ").join(pairs))


def _update(cursor: Cursor, ask: Ask, columns: Mapping[str, Column]) -> Answer:
    names = list(ask.body)
    statement = sql.SQL("update {} set {} from jsonb_to_record({}::jsonb) as fields({}) where {}").format(
        _table(ask),
        sql.SQL(", ").join(sql.SQL("{0} = fields.{0}").format(sql.Identifier(name)) for name in names),
        sql.Literal(json.dumps(ask.body)),
        _known(ask, columns, names),
        _where(ask),
    )
    return _write(cursor, ask, statement, 204)


def _known(ask: Ask, columns: Mapping[str, Column], names: Sequence[str]) -> sql.Composable:
    for name in names:
        if name not in columns:
            message = f"Could not find the '{name}' column of '{ask.name}' in the schema cache"
            raise Refused(400, {"code": "PGRST204", "message": message, "details": None, "hint": None})
    return sql.SQL(", ").join(sql.Identifier(name) + sql.SQL(f" {columns[name].type}") for name in names)


def _primary_key(cursor: Cursor, ask: Ask) -> list[str]:
    cursor.execute(
        "select attname from pg_index join pg_attribute on attrelid = indrelid and attnum = any(indkey)"
        " where indisprimary and indrelid = to_regclass(%s)",
        (f'public."{ask.name}"',),
    )
    return [row["attname"] for row in cursor.fetchall()]


def _write(cursor: Cursor, ask: Ask, statement: sql.Composable, status: int) -> Answer:
    if not ask.prefers("return=representation"):
        cursor.execute(statement)
        return Answer(status)
    returning = sql.SQL(" returning {}").format(_returned(ask))
    cursor.execute(_as_json(statement + returning))
    body, count = _found(cursor)
    return Answer(status if status != 204 else 200, _one(body, count) if ask.wants_one else body)


def _returned(ask: Ask) -> sql.Composable:
    """An update joins the table with the new values, so each column has to say whose it is."""
    if ask.parameter("select", "*") == "*":
        return _table(ask) + sql.SQL(".*")
    names = [name.strip('"') for name in ask.parameter("select").split(",")]
    return sql.SQL(", ").join(sql.Identifier("public", ask.name, name) for name in names)


def _as_json(rows: sql.Composable) -> sql.Composable:
    return sql.SQL(
        "with rows as ({}) select coalesce(json_agg(rows), '[]')::text as body, count(*) as n from rows"
    ).format(rows)


def _found(cursor: Cursor) -> tuple[str, int]:
    row = cursor.fetchone() or {}
    return row["body"], row["n"]


def _one(body: str, count: int) -> str:
    if count != 1:
        message = "Cannot coerce the result to a single JSON object"
        details = f"The result contains {count} rows"
        raise Refused(406, {"code": "PGRST116", "message": message, "details": details, "hint": None})
    return json.dumps(json.loads(body)[0])
