"""The people who may come in: name, role, password, and the time from which their sessions count."""

from __future__ import annotations

import json
import re
import secrets
import sqlite3
import time
import unicodedata
from dataclasses import dataclass, field

from lora_studio.access.quotas import DEFAULTS, Limits, Use
from lora_studio.access.roles import Role
from lora_studio.errors import ConfigError, StoreError
from lora_studio.store.database import Database
from lora_studio.store.people.audit_log import LOCAL, UNKNOWN
from lora_studio.store.people.passwords import hashed, is_right

NAME = re.compile(r"[\w][\w.@+-]{0,63}")
HUB = "@hf"
"""Ending of the names of people who log in with an account of Hugging Face; nobody else's ends so."""
SHORTEST_PASSWORD, LONGEST_PASSWORD = 12, 256
MADE_BYTES = 12
"""Bytes of chance in a password that is made here: 96 bits."""
MOST_PEOPLE = 500
NOBODYS_NAMES = frozenset({LOCAL, UNKNOWN})
"""Names that the audit log has for others."""


@dataclass(frozen=True, kw_only=True)
class Person:
    """`created_at` and `sessions_from` are unix times; sessions that began before the second are over.
    `limits` are quotas that differ from the role's."""

    name: str
    role: Role
    created_at: float
    sessions_from: float = 0.0
    limits: Limits = field(default_factory=dict)

    def limit(self, use: Use) -> int | None:
        """The most of a use; None is no limit."""
        if self.role is Role.ADMIN:
            return None
        return self.limits.get(use, DEFAULTS[self.role][use])


class People:
    """The people of this home. Raises StoreError, and ConfigError for an impossible name or password."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> list[Person]:
        """The people, by name."""
        return [_person(row) for row in self._database.read("SELECT * FROM people ORDER BY name")]

    def get(self, name: str) -> Person:
        person = self.find(name)
        if person is None:
            raise StoreError(
                f"Nobody is called {name[:64]!r} here.", "lora-studio access list shows who there is."
            )
        return person

    def find(self, name: str) -> Person | None:
        rows = self._database.read("SELECT * FROM people WHERE name = ?", (name,)) if _can_be(name) else []
        return _person(rows[0]) if rows else None

    def add(self, name: str, role: Role, password: str) -> Person:
        """A new person. Raises ConfigError also for a name that is taken."""
        kept = hashed(checked_password(password))
        with self._database.write() as connection:
            insert(connection, checked_name(name), role, kept)
        return self.get(name)

    def set_role(self, name: str, role: Role) -> Person:
        """Change a role; it counts from the next request on."""
        self._set(name, "role", str(role))
        return self.get(name)

    def set_password(self, name: str, password: str) -> None:
        """Give another password. Sessions under the old one are over."""
        kept, now = hashed(checked_password(password)), time.time()
        self._set(name, "password", kept)
        self._set(name, "sessions_from", now)

    def set_limits(self, name: str, limits: Limits) -> Person:
        """Give quotas that differ from the role's; the others are as the role has them."""
        self._set(name, "limits", json.dumps(limits))
        return self.get(name)

    def end_sessions(self, name: str) -> None:
        self._set(name, "sessions_from", time.time())

    def remove(self, name: str) -> None:
        """Remove a person; their sessions are over. What they made stays, as the admins'."""
        self.get(name)
        with self._database.write() as connection:
            connection.execute("DELETE FROM people WHERE name = ?", (name,))
            connection.execute("DELETE FROM spent WHERE name = ?", (name,))
            connection.execute("DELETE FROM saved_settings WHERE owner = ?", (name,))
            connection.execute("DELETE FROM owners WHERE owner = ? AND NOT shared", (name,))
            connection.execute("UPDATE OR REPLACE owners SET owner = '' WHERE owner = ?", (name,))

    def knows(self, name: str, password: str) -> bool:
        """Whether the password is this person's. Takes some 40 ms of a core, whoever it is."""
        sql = "SELECT password FROM people WHERE name = ?"
        rows = self._database.read(sql, (name,)) if _can_be(name) else []
        return is_right(password, str(rows[0]["password"]) if rows else "")

    def revoke_all(self) -> None:
        """End all sessions, also those with the studio's own password, all invites and all read-only links,
        at once. People stay: they can log in again with their passwords."""
        now = time.time()
        with self._database.write() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO access_facts(name, value) VALUES ('sessions_from', ?)", (repr(now),)
            )
            connection.execute("UPDATE invites SET revoked_at = ? WHERE revoked_at IS NULL", (now,))

    def sessions_from(self) -> float:
        """The time before which nobody's session counts."""
        rows = self._database.read("SELECT value FROM access_facts WHERE name = 'sessions_from'")
        return float(rows[0]["value"]) if rows else 0.0

    def _set(self, name: str, column: str, value: object) -> None:
        self.get(name)
        self._database.change(f"UPDATE people SET {column} = ? WHERE name = ?", (value, name))


def insert(connection: sqlite3.Connection, name: str, role: Role, kept: str) -> None:
    """Write a new person's row. Raises ConfigError for a taken name, in whatever case, and for too many."""
    names = [row["name"] for row in connection.execute("SELECT name FROM people")]
    if look_of(name) in {*map(look_of, names), *NOBODYS_NAMES}:
        raise ConfigError(f"Somebody is called {name} already.", "Choose another name.", field="name")
    if len(names) >= MOST_PEOPLE:
        raise ConfigError(f"{len(names)} people are here already.", "Remove some first.", field="name")
    connection.execute(
        "INSERT INTO people(name, role, password, created_at) VALUES (?, ?, ?, ?)",
        (name, str(role), kept, time.time()),
    )


def checked_name(name: str) -> str:
    """A name that people can be called by. Raises ConfigError."""
    if not _can_be(name) or name.casefold().endswith(HUB):
        raise ConfigError(
            f"The name {name[:40]!r} can't be used.",
            f"Use letters, digits, and . _ - @ + after the first; at most 64, without {HUB} at the end.",
            field="name",
        )
    return name


def checked_password(password: str) -> str:
    """A password that is long enough. Raises ConfigError."""
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise ConfigError(
            f"The password needs {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters.",
            "Take several words, or let one be made.",
            field="password",
        )
    return password


def made_password() -> str:
    return secrets.token_urlsafe(MADE_BYTES)


def look_of(name: str) -> str:
    """A form that a name has in common with those in other cases, widths and styles of letters."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def _can_be(name: str) -> bool:
    return bool(NAME.fullmatch(name))


def _person(row: sqlite3.Row) -> Person:
    return Person(
        name=row["name"],
        role=Role(row["role"]),
        created_at=row["created_at"],
        sessions_from=row["sessions_from"],
        limits=_limits(row["limits"]),
    )


def _limits(text: str) -> Limits:
    return {Use(name): most for name, most in json.loads(text).items() if name in list(Use)}
