"""Settings of trainings that people keep under a name of their own, for the next training."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lora_studio.access.roles import Role
from lora_studio.access.visitor import visitor
from lora_studio.errors import ConfigError, StoreError
from lora_studio.store.database import Database

MOST_KEPT = 200
"""Settings of one person; of those that were deleted, as many wait for an undo."""
LONGEST = 100_000
"""Characters of one person's settings as JSON."""


@dataclass(frozen=True, kw_only=True)
class SavedSettings:
    """Settings by name, as they were typed, and the base model they were for; empty for none."""

    id: str
    title: str
    values: Mapping[str, str]
    base: str = ""


class SavedSettingsShelf:
    """The settings that the visitor keeps; those of others are neither listed nor found. Raises StoreError,
    and NotAllowed for somebody who may not train."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> list[SavedSettings]:
        """Return them by title."""
        sql = "SELECT * FROM saved_settings WHERE owner = ? AND NOT deleted ORDER BY lower(title)"
        return [_record(row) for row in self._database.read(sql, (visitor().name,))]

    def get(self, key: str) -> SavedSettings:
        sql = "SELECT * FROM saved_settings WHERE owner = ? AND id = ? AND NOT deleted"
        rows = self._database.read(sql, (visitor().name, key))
        if not rows:
            raise StoreError("There are no such settings.", "They may have been deleted; reload the page.")
        return _record(rows[0])

    def save(self, title: str, values: Mapping[str, str], base: str = "") -> SavedSettings:
        """Keep settings under a title, in the place of those that had it. Raises ConfigError."""
        visitor().needs(Role.TRAINER)
        text = json.dumps(dict(values))
        if len(text) > LONGEST:
            raise ConfigError(
                "These settings are too long to be kept.", "Shorten the prompts of the previews."
            )
        owner = visitor().name
        with self._database.write() as connection:
            connection.execute(
                "DELETE FROM saved_settings WHERE owner = ? AND title = ? AND NOT deleted", (owner, title)
            )
            count = "SELECT count(*) FROM saved_settings WHERE owner = ? AND NOT deleted"
            if connection.execute(count, (owner,)).fetchone()[0] >= MOST_KEPT:
                raise StoreError(f"You keep {MOST_KEPT} settings already.", "Delete some of them first.")
            record = SavedSettings(id=uuid.uuid4().hex, title=title, values=dict(values), base=base)
            connection.execute(
                "INSERT INTO saved_settings(id, owner, title, base, settings, at) VALUES (?, ?, ?, ?, ?, ?)",
                (record.id, owner, title, base, text, time.time()),
            )
            connection.execute(
                "DELETE FROM saved_settings WHERE owner = ? AND deleted AND id NOT IN (SELECT id FROM"
                " saved_settings WHERE owner = ? AND deleted ORDER BY at DESC LIMIT ?)",
                (owner, owner, MOST_KEPT),
            )
        return record

    def rename(self, key: str, title: str) -> SavedSettings:
        """Give settings another title. Raises ConfigError for one that others have."""
        visitor().needs(Role.TRAINER)
        record = self.get(key)
        self._must_be_free(title, key)
        self._change("title = ?", title, record.id)
        return self.get(key)

    def delete(self, key: str) -> SavedSettings:
        """Put settings aside, until `undo` or until they have to make room."""
        visitor().needs(Role.TRAINER)
        record = self.get(key)
        self._change("deleted = ?", 1, record.id)
        return record

    def undo(self, key: str) -> SavedSettings:
        """Bring deleted settings back. Raises ConfigError where others have taken their title."""
        visitor().needs(Role.TRAINER)
        sql = "SELECT * FROM saved_settings WHERE owner = ? AND id = ? AND deleted"
        rows = self._database.read(sql, (visitor().name, key))
        if not rows:
            raise StoreError("There is nothing to undo.", "It may have been undone already; reload the page.")
        self._must_be_free(rows[0]["title"], key)
        self._change("deleted = ?", 0, key)
        return self.get(key)

    def _must_be_free(self, title: str, key: str) -> None:
        if any(one.title == title and one.id != key for one in self.all()):
            raise ConfigError(
                f"You have settings called “{title}” already.", "Take another name.", field="name"
            )

    def _change(self, assignment: str, value: Any, key: str) -> None:
        self._database.change(
            f"UPDATE saved_settings SET {assignment} WHERE owner = ? AND id = ?", (value, visitor().name, key)
        )


def _record(row: Any) -> SavedSettings:
    try:
        values = json.loads(row["settings"])
    except ValueError:
        values = {}
    return SavedSettings(id=row["id"], title=row["title"], values=values, base=row["base"])
