"""The captionings in the store: the last one of each set of pictures."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lora_studio.jobs.captioning.captioning_state import CaptioningState
from lora_studio.store.database import Database

MOST_KEPT = 200
"""Captionings that are kept, the newest ones."""
STOP = "stop"
"""A fact of a row: another process wishes that the captioning ends."""
ENDED = {str(state) for state in CaptioningState if state is not CaptioningState.RUNNING}


@dataclass(frozen=True, kw_only=True)
class CaptioningRow:
    """A captioning as the process `owner` wrote it at the unix time `at`."""

    dataset_id: str
    owner: str
    at: float
    facts: Mapping[str, Any]

    @property
    def is_open(self) -> bool:
        """Whether it had not ended when it was written, also by a version that names its states otherwise."""
        return self.facts.get("state") not in ENDED

    @property
    def is_to_stop(self) -> bool:
        return bool(self.facts.get(STOP))


class CaptioningRows:
    """The rows, for whoever asks. Raises StoreError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(
        self,
        dataset_id: str,
        owner: str,
        facts: Mapping[str, Any],
        *,
        check: Callable[[CaptioningRow], None] = lambda row: None,
    ) -> CaptioningRow | None:
        """Keep a captioning in the place of the set's last one, and return that. `check` sees it in the same
        transaction, and raises where it may not be written over."""
        with self._database.write() as connection:
            if (before := _of_set(connection, dataset_id)) is not None:
                check(before)
            connection.execute(
                "INSERT OR REPLACE INTO captionings(dataset_id, owner, facts, at) VALUES (?, ?, ?, ?)",
                (dataset_id, owner, json.dumps(facts), time.time()),
            )
            connection.execute(
                "DELETE FROM captionings WHERE dataset_id NOT IN"
                " (SELECT dataset_id FROM captionings ORDER BY at DESC LIMIT ?)",
                (MOST_KEPT,),
            )
        return before

    def ask_to_stop(self, dataset_id: str, owner: str) -> bool:
        """Leave a wish for the owner, which sees it when it next writes; False where it has ended."""
        with self._database.write() as connection:
            row = _of_set(connection, dataset_id)
            if row is None or row.owner != owner or not row.is_open:
                return False
            connection.execute(
                "UPDATE captionings SET facts = ? WHERE dataset_id = ?",
                (json.dumps({**row.facts, STOP: True}), dataset_id),
            )
        return True

    def get(self, dataset_id: str) -> CaptioningRow | None:
        found = self._database.read("SELECT * FROM captionings WHERE dataset_id = ?", (dataset_id,))
        return _row(found[0]) if found else None

    def all(self) -> list[CaptioningRow]:
        """Return them, the newest first."""
        return [_row(row) for row in self._database.read("SELECT * FROM captionings ORDER BY at DESC")]


def _of_set(connection: sqlite3.Connection, dataset_id: str) -> CaptioningRow | None:
    found = connection.execute("SELECT * FROM captionings WHERE dataset_id = ?", (dataset_id,)).fetchone()
    return _row(found) if found is not None else None


def _row(row: Any) -> CaptioningRow:
    return CaptioningRow(
        dataset_id=row["dataset_id"], owner=row["owner"], at=row["at"], facts=json.loads(row["facts"])
    )
