"""Numbers over all trainings, for those who watch the studio from outside."""

from __future__ import annotations

from lora_studio.records import JobStatus
from lora_studio.store.database import Database


def jobs_by_status(database: Database) -> dict[JobStatus, int]:
    """The number of trainings of each status, also of those that none has. Raises StoreError."""
    rows = database.read("SELECT status, count(*) AS jobs FROM jobs GROUP BY status")
    found = {row["status"]: row["jobs"] for row in rows}
    return {status: found.get(status, 0) for status in JobStatus}


def steps_by_job(database: Database) -> dict[str, int]:
    """The step that each training has reached, by its id. Raises StoreError."""
    return {row["id"]: row["step"] for row in database.read("SELECT id, step FROM jobs")}
