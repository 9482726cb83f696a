"""The captionings in the store: the last one of each set of pictures."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lora_studio.store.database import Database

MOST_KEPT = 200
"""Captionings that are kept, the newest ones."""


@dataclass(frozen=True, kw_only=True)
class CaptioningRow:
    """A captioning as the process `owner` wrote it at the unix time `at`."""

    dataset_id: str
    owner: str
    at: float
    facts: Mapping[str, Any]


class CaptioningRows:
    """The rows, for whoever asks. Raises StoreError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, dataset_id: str, owner: str, facts: Mapping[str, Any]) -> None:
        """Keep a captioning in the place of the set's last one."""
        with self._database.write() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO captionings(dataset_id, owner, facts, at) VALUES (?, ?, ?, ?)",
                (dataset_id, owner, json.dumps(facts), time.time()),
            )
            connection.execute(
                "DELETE FROM captionings WHERE dataset_id NOT IN"
                " (SELECT dataset_id FROM captionings ORDER BY at DESC LIMIT ?)",
                (MOST_KEPT,),
            )

    def get(self, dataset_id: str) -> CaptioningRow | None:
        found = self._database.read("SELECT * FROM captionings WHERE dataset_id = ?", (dataset_id,))
        return _row(found[0]) if found else None

    def all(self) -> list[CaptioningRow]:
        """Return them, the newest first."""
        return [_row(row) for row in self._database.read("SELECT * FROM captionings ORDER BY at DESC")]


def _row(row: Any) -> CaptioningRow:
    return CaptioningRow(
        dataset_id=row["dataset_id"], owner=row["owner"], at=row["at"], facts=json.loads(row["facts"])
    )
