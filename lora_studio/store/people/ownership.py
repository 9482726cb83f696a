"""Owners of things. A thing belongs to whoever made it and is seen by others once it is shared; what has no
owner here is the admins'."""

from __future__ import annotations

import time

from lora_studio.access.visitor import Kind
from lora_studio.store.database import Database


class Owners:
    """The owners of this home. Raises StoreError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def is_owner(self, kind: Kind, key: str, name: str) -> bool:
        sql = "SELECT 1 FROM owners WHERE kind = ? AND key = ? AND owner = ?"
        return bool(name) and bool(self._database.read(sql, (str(kind), key, name)))

    def is_shared(self, kind: Kind, key: str) -> bool:
        sql = "SELECT 1 FROM owners WHERE kind = ? AND key = ? AND shared LIMIT 1"
        return bool(self._database.read(sql, (str(kind), key)))

    def owners(self, kind: Kind, key: str) -> list[str]:
        """The names of the owners; the person at the machine is the empty one."""
        sql = "SELECT owner FROM owners WHERE kind = ? AND key = ? ORDER BY owner"
        return [row["owner"] for row in self._database.read(sql, (str(kind), key))]

    def keys(self, kind: Kind, name: str) -> list[str]:
        """The keys of all that a person owns of a kind."""
        sql = "SELECT key FROM owners WHERE kind = ? AND owner = ?"
        return [row["key"] for row in self._database.read(sql, (str(kind), name))]

    def claim(self, kind: Kind, key: str, name: str, *, alone: bool = True, new: bool = True) -> None:
        """Make a person the owner, with `alone` the only one. A `new` thing is not shared."""
        with self._database.write() as connection:
            if alone:
                connection.execute(
                    "DELETE FROM owners WHERE kind = ? AND key = ? AND (? OR owner <> ?)",
                    (str(kind), key, int(new), name),
                )
            connection.execute(
                "INSERT OR IGNORE INTO owners(kind, key, owner, at, content) VALUES (?, ?, ?, ?,"
                " coalesce((SELECT id FROM loras WHERE ? = 'lora' AND slug = ?), ''))",
                (str(kind), key, name, time.time(), str(kind), key),
            )

    def share(self, kind: Kind, key: str, shared: bool) -> None:
        """Let everybody here see a thing, or not any more."""
        with self._database.write() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO owners(kind, key, owner, at) SELECT ?, ?, '', ? WHERE NOT EXISTS"
                " (SELECT 1 FROM owners WHERE kind = ? AND key = ?)",
                (str(kind), key, time.time(), str(kind), key),
            )
            connection.execute(
                "UPDATE owners SET shared = ? WHERE kind = ? AND key = ?", (int(shared), str(kind), key)
            )

    def forget(self, kind: Kind, key: str) -> None:
        """Let nobody own a thing any more."""
        self._database.change("DELETE FROM owners WHERE kind = ? AND key = ?", (str(kind), key))
