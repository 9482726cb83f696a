"""Ended trainings leave the history, and come back. Their LoRAs, first pictures and sets stay."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lora_studio.access.visitor import Kind, visitor
from lora_studio.errors import StoreError
from lora_studio.records import JobRecord, JobStatus
from lora_studio.settings import Settings
from lora_studio.store.database import Database
from lora_studio.store.job_store import ACTIVE, JobStore
from lora_studio.store.trash import Deleted, Trash

KIND = "training"
"""The trash's word for a training."""


@dataclass(frozen=True, kw_only=True)
class RemovedTrainings:
    """The trainings in the trash: the folder of each with its log, while its row and events stay in the
    database, unlisted, until it is purged. Raises StoreError, NotAllowed."""

    database: Database
    settings: Settings

    @property
    def _trash(self) -> Trash:
        return Trash(self.settings.trash)

    def remove(self, job_id: str) -> str:
        """Take an ended training out of the history; returns the token for `undo`."""
        job = JobStore(self.database).own(job_id)
        if job.status.active or job.status is JobStatus.PAUSED:
            raise _not_ended(job)
        if job.removed:
            return job.removed
        folder = JobStore(self.database).folder(job_id)
        folder.mkdir(parents=True, exist_ok=True)  # one that never ran has none
        token = self._trash.put(KIND, job.name, [folder])
        visitor().claims(Kind.DELETED, token)
        if not self._mark(job_id, token):  # somebody has resumed it meanwhile
            self._trash.restore(token, (KIND,))
            raise _not_ended(JobStore(self.database).get(job_id))
        return token

    def undo(self, token: str) -> JobRecord:
        """Put a training back into the history."""
        ids = self._ids(token)
        # The row first: whatever ends the program in between, the training can still be found.
        for job_id in ids:
            self._mark(job_id, "")
        try:
            (folder,) = self._trash.restore(token, (KIND,))
        except StoreError:
            for job_id in ids:
                self._mark(job_id, token)
            raise
        return JobStore(self.database).get(folder.name)

    def purge(self, token: str) -> None:
        """Delete a training in the trash for good."""
        ids = self._ids(token)
        self._trash.purge(token)
        with self.database.write() as connection:
            for job_id in ids:
                connection.execute("DELETE FROM jobs WHERE id = ? AND removed = ?", (job_id, token))
                connection.execute(
                    "DELETE FROM outbox WHERE kind IN ('job', 'events') AND key = ?", (job_id,)
                )
                visitor().forgets(Kind.JOB, job_id)

    def deleted(self) -> list[Deleted]:
        """The visitor's trainings that `undo` can bring back, newest first."""
        return self._trash.entries((KIND,))

    def _ids(self, token: str) -> list[str]:
        """The training of a token, if it is the visitor's."""
        return [Path(entry.paths[0]).name for entry in self.deleted() if entry.token == token]

    def _mark(self, job_id: str, token: str) -> bool:
        """Take a training out of the history, or with an empty token back; False for one that goes on."""
        sql = f"UPDATE jobs SET removed = ?, revision = revision + 1 WHERE id = ? AND status NOT IN {ACTIVE}"
        with self.database.write() as connection:
            return connection.execute(sql, (token, job_id)).rowcount > 0


def _not_ended(job: JobRecord) -> StoreError:
    return StoreError(f"The training {job.name} has not ended: it is {job.status}.", "End it first.")
