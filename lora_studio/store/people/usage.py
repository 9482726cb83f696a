"""The use that people make of a home, and their quotas."""

from __future__ import annotations

import logging
import os
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from lora_studio.access.quotas import Use, check
from lora_studio.access.visitor import Kind
from lora_studio.errors import StoreError
from lora_studio.settings import Settings
from lora_studio.store.database import Database
from lora_studio.store.people.people import Person

logger = logging.getLogger(__name__)

KEPT_DAYS = 90
BUSY = (
    "jobs JOIN owners ON kind = 'job' AND key = jobs.id WHERE owners.owner = ?"
    " AND status IN ('queued', 'running', 'stopping', 'pausing')"
)


class Usage:
    """The use of one home. Generations that wait or run are known to their queue alone. Raises StoreError."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database, self._settings = database, settings
        self._lock = threading.Lock()
        self._reserved: Counter[str] = Counter()

    def of(self, name: str) -> Mapping[Use, int]:
        """All uses of a person but the generations."""
        return {use: self.used(use, name) for use in Use if use is not Use.GENERATIONS}

    def used(self, use: Use, name: str) -> int:
        """One use of a person. Steps that are planned count."""
        if use is Use.DISK:
            return self._bytes(name)
        spent = "SELECT images, steps FROM spent WHERE name = ? AND day = ?"
        today = next(iter(self._database.read(spent, (name, _today()))), {"images": 0, "steps": 0})
        ahead = f"SELECT count(*) AS jobs, total(max(0, total_steps - step)) AS steps FROM {BUSY}"
        busy = self._database.read(ahead, (name,))[0]
        steps = today["steps"] + int(busy["steps"])
        return {Use.TRAININGS: busy["jobs"], Use.IMAGES: today["images"], Use.STEPS: steps}.get(use, 0)

    def spend(self, use: Use, name: str, amount: int) -> None:
        """Add to what a person has used today."""
        column = {Use.IMAGES: "images", Use.STEPS: "steps"}[use]
        with self._database.write() as connection:
            connection.execute(
                f"INSERT INTO spent(name, day, {column}) VALUES (?, ?, ?)"
                f" ON CONFLICT(name, day) DO UPDATE SET {column} = {column} + excluded.{column}",
                (name, _today(), amount),
            )
            connection.execute("DELETE FROM spent WHERE day < date('now', ?)", (f"-{KEPT_DAYS} days",))

    @contextmanager
    def room(self, person: Person, wanted: int) -> Iterator[None]:
        """Keep so many bytes for a person inside the block, which others of theirs can't take meanwhile."""
        with self._lock:
            used = self._bytes(person.name) + self._reserved[person.name]
            check(Use.DISK, wanted=wanted, used=used, allowed=person.limit(Use.DISK))
            self._reserved[person.name] += wanted
        try:
            yield
        finally:
            with self._lock:
                self._reserved[person.name] -= wanted

    def _bytes(self, name: str) -> int:
        """Bytes of a person's sets, LoRAs and pictures, and of what they deleted and can put back."""
        kinds = (str(Kind.DATASET), str(Kind.LORA), str(Kind.IMAGE), str(Kind.DELETED))
        sql = "SELECT kind, key FROM owners WHERE owner = ? AND kind IN (?, ?, ?, ?)"
        rows = self._database.read(sql, (name, *kinds))
        return sum(_size(self._place(row["kind"], row["key"])) for row in rows)

    def _place(self, kind: str, key: str) -> Path:
        settings = self._settings
        tops = {Kind.DATASET: settings.datasets, Kind.LORA: settings.loras, Kind.DELETED: settings.trash}
        return tops[Kind(kind)] / key if kind in tops else Path(key)


@dataclass(frozen=True)
class PersonalAllowance:
    """The quotas of one person, as they are at the time."""

    usage: Usage
    person: Person

    def check(self, use: Use, wanted: int, pending: int) -> None:
        """Refuse a use beyond the quota. Raises QuotaReached."""
        allowed = self.person.limit(use)
        if allowed is not None:
            used = self.usage.used(use, self.person.name) + pending
            check(use, wanted=wanted, used=used, allowed=allowed)

    def spend(self, use: Use, amount: int) -> None:
        """Record a use; one that can't be recorded is a warning, since it has happened."""
        try:
            self.usage.spend(use, self.person.name, amount)
        except StoreError as error:
            logger.warning("%s of %s can't be counted: %s", use, self.person.name, error)

    @contextmanager
    def room(self, wanted: int) -> Iterator[None]:
        """Keep so many bytes inside the block. Raises QuotaReached."""
        with self.usage.room(self.person, wanted):
            yield


def _size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; 0 for what is gone."""
    try:
        if not path.is_dir():
            return path.stat().st_size
        with os.scandir(path) as entries:
            return sum(_size(Path(entry.path)) for entry in entries if not entry.is_symlink())
    except OSError:
        return 0


def _today() -> str:
    """The day of UTC, as SQLite's date('now')."""
    return datetime.now(UTC).date().isoformat()
