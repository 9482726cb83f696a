"""Changes that the mirror has yet to get, beside the tables they were made in.

A row says that a thing changed, not how: the sender reads that when it sends, so two hundred changes of one
job may cost twenty requests. A row is settled by the version that was sent: later changes still wait. Nothing
is settled before the mirror acknowledged it, so a killed sender sends again; upserts make that harmless.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from lora_studio.store.database import Database
from lora_studio.store.process_owner import is_alive

ROWS = ("lora", "job", "events", "image")
FILES = ("file", "picture")
"""Kinds for a LoRA's file and an image's: sent only where uploads are asked for."""


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A thing whose version `sent` the mirror has, but not yet `version`. `key` is the job's id, the LoRA's
    slug or the image's id; for events, versions are sequence numbers."""

    kind: str
    key: str
    version: int
    sent: int
    attempts: int = 0
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class DeadLetter:
    """A version that the mirror refused for good, at unix time `at`."""

    kind: str
    key: str
    version: int
    at: float
    error: str


class Outbox:
    """The outbox of this store. Raises StoreError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def waiting(self, kind: str, limit: int = 50) -> list[Waiting]:
        """Things of a kind that may be sent now, the longest due first."""
        sql = (
            "SELECT kind, key, version, sent, attempts, note FROM outbox INDEXED BY outbox_waiting"
            " WHERE kind = ? AND version > sent AND next_at <= ? ORDER BY next_at, key LIMIT ?"
        )
        return [Waiting(**dict(row)) for row in self._database.read(sql, (kind, time.time(), limit))]

    def count(self, kinds: Collection[str] = ROWS) -> int:
        """The number of waiting changes, each event by itself, whether or not they may be sent now."""
        sql = (
            "SELECT total(CASE kind WHEN 'events' THEN version - sent ELSE 1 END) FROM outbox"
            f" WHERE version > sent AND kind IN ({', '.join('?' * len(kinds))})"
        )
        return int(self._database.read(sql, tuple(kinds))[0][0])

    def trouble(self, kinds: Collection[str] = ROWS) -> str:
        """The error that put off one of the waiting things; empty when none was put off."""
        sql = (
            "SELECT error FROM outbox WHERE version > sent AND error <> ''"
            f" AND kind IN ({', '.join('?' * len(kinds))}) ORDER BY next_at DESC LIMIT 1"
        )
        rows = self._database.read(sql, tuple(kinds))
        return str(rows[0]["error"]) if rows else ""

    def is_known(self, kind: str, key: str) -> bool:
        """Whether the mirror has ever acknowledged the thing."""
        sql = "SELECT 1 FROM outbox WHERE kind = ? AND key = ? AND sent > 0"
        return bool(self._database.read(sql, (kind, key)))

    def events(self, job_id: str, after: int, limit: int) -> list[tuple[int, float, dict[str, Any]]]:
        """(sequence, unix time, JSON) of the oldest events above `after`."""
        sql = (
            "SELECT sequence, at, json FROM events WHERE job_id = ? AND sequence > ?"
            " ORDER BY sequence LIMIT ?"
        )
        rows = self._database.read(sql, (job_id, after, limit))
        return [(row["sequence"], row["at"], json.loads(row["json"])) for row in rows]

    def acknowledge(self, items: Iterable[tuple[str, str, int]]) -> None:
        """Record that the mirror has these versions (kind, key, version)."""
        with self._database.write() as connection:
            connection.executemany(
                "UPDATE outbox SET sent = max(sent, ?3), attempts = 0, next_at = 0, error = ''"
                " WHERE kind = ?1 AND key = ?2",
                list(items),
            )

    def settle(self, kind: str, key: str) -> None:
        """Mark a thing as sent in its present version, because it came from the mirror."""
        self._database.change(
            "UPDATE outbox SET sent = version, error = '' WHERE kind = ? AND key = ?", (kind, key)
        )

    def postpone(self, item: Waiting, error: str, seconds: float) -> None:
        """Try this thing again in so many seconds; the others do not wait for it."""
        self._database.change(
            "UPDATE outbox SET attempts = attempts + 1, next_at = ?, error = ? WHERE kind = ? AND key = ?",
            (time.time() + seconds, error, item.kind, item.key),
        )

    def bury(self, kind: str, key: str, version: int, error: str) -> None:
        """Record that the mirror will never take this version. A later one is tried again."""
        with self._database.write() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO dead_letters(kind, key, version, at, error) VALUES (?, ?, ?, ?, ?)",
                (kind, key, version, time.time(), error),
            )
            connection.execute(
                "UPDATE outbox SET sent = max(sent, ?), attempts = 0, next_at = 0, error = ? WHERE kind = ?"
                " AND key = ?",
                (version, error, kind, key),
            )

    def dead_letters(self) -> list[DeadLetter]:
        """The dead letters, newest first."""
        rows = self._database.read("SELECT kind, key, version, at, error FROM dead_letters ORDER BY at DESC")
        return [DeadLetter(**dict(row)) for row in rows]

    def refused(self) -> int:
        """The number of dead letters that no later version has made good, and of all refused events."""
        sql = (
            "SELECT count(*) FROM dead_letters JOIN outbox USING (kind, key)"
            " WHERE kind = 'events' OR dead_letters.version >= sent"
        )
        return int(self._database.read(sql)[0][0])

    def touch(self, kind: str, key: str) -> None:
        """Send a thing anew that the mirror doesn't have after all, unless its version was refused."""
        self._database.change(
            "UPDATE outbox SET version = sent + 1 WHERE kind = ? AND key = ? AND version <= sent"
            " AND NOT EXISTS (SELECT 1 FROM dead_letters WHERE dead_letters.kind = outbox.kind"
            " AND dead_letters.key = outbox.key AND dead_letters.version = outbox.sent)",
            (kind, key),
        )

    def keep_note(self, item: Waiting, note: str) -> None:
        """Keep a text for the sender's next try at this thing, perhaps in another process."""
        self._database.change(
            "UPDATE outbox SET note = ? WHERE kind = ? AND key = ?", (note, item.kind, item.key)
        )

    def aim_at(self, target: str) -> None:
        """Name the target of the mirror. A new target has nothing yet: everything waits again."""
        with self._database.write() as connection:
            if _fact(connection, "target") == target:
                return
            connection.execute("UPDATE outbox SET sent = 0, attempts = 0, next_at = 0, error = '', note = ''")
            connection.execute("DELETE FROM dead_letters")
            _keep(connection, "target", target)
            _keep(connection, "state", "")

    def take_turn(self, owner: str, seconds: float) -> bool:
        """Make `owner`, as `this_process` names it, the one sender among the processes that share this store,
        for so many seconds or until it is gone. False while another is the sender."""
        now = time.time()
        rows = self._database.read("SELECT value FROM mirror WHERE name = 'sender'")
        before = rows[0]["value"] if rows else ""
        holder, _, until = before.rpartition("|")
        if holder not in ("", owner) and float(until) > now and is_alive(holder, silence=0.0):
            return False
        with self._database.write() as connection:
            if _fact(connection, "sender") != before:  # somebody was quicker
                return False
            _keep(connection, "sender", f"{owner}|{now + seconds}")
            return True

    def end_turn(self, owner: str) -> None:
        with self._database.write() as connection:
            if _fact(connection, "sender").rpartition("|")[0] == owner:
                _keep(connection, "sender", "")

    def set_state(self, state: str, reason: str = "") -> None:
        """Store the state of the sending for all processes that share this store."""
        text = f"{state}|{reason}" if state else ""
        if self._database.read("SELECT 1 FROM mirror WHERE name = 'state' AND value = ?", (text,)):
            return
        with self._database.write() as connection:
            _keep(connection, "state", text)

    def state(self) -> tuple[str, str]:
        """(state, reason); empty when all is well."""
        rows = self._database.read("SELECT value FROM mirror WHERE name = 'state'")
        state, _, reason = (rows[0]["value"] if rows else "").partition("|")
        return state, reason


def _fact(connection: Any, name: str) -> str:
    row = connection.execute("SELECT value FROM mirror WHERE name = ?", (name,)).fetchone()
    return str(row["value"]) if row else ""


def _keep(connection: Any, name: str, value: str) -> None:
    connection.execute("INSERT OR REPLACE INTO mirror(name, value) VALUES (?, ?)", (name, value))
