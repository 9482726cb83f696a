"""Lists of trainings and numbers over all of them: the line of those that wait, and the history."""

from __future__ import annotations

import json
from dataclasses import dataclass

from lora_studio.access.visitor import Kind, visitor
from lora_studio.errors import StoreError
from lora_studio.records import JobRecord, JobStatus
from lora_studio.store.database import Database
from lora_studio.store.job_store import ACTIVE, FIELDS, JobStore, record_of

IN_TURN = "coalesce(place, number)"
"""The order in which trainings get their turn: by age, until somebody moves one."""
LONGEST_SEARCH = 100


def jobs_by_status(database: Database) -> dict[JobStatus, int]:
    """The number of trainings of each status, also of those that none has. Raises StoreError."""
    rows = database.read("SELECT status, count(*) AS jobs FROM jobs WHERE removed = '' GROUP BY status")
    found = {row["status"]: row["jobs"] for row in rows}
    return {status: found.get(status, 0) for status in JobStatus}


def steps_by_job(database: Database) -> dict[str, int]:
    """The step that each training has reached, by its id. Raises StoreError."""
    return {row["id"]: row["step"] for row in database.read("SELECT id, step FROM jobs")}


def present_jobs(database: Database) -> list[JobRecord]:
    """The trainings that run, are paused or wait, as far as the visitor may see them, in this order; those
    that wait by their turn."""
    jobs = {job.id: job for job in JobStore(database).active(seen=True)}
    rows = database.read(f"SELECT id FROM jobs WHERE status IN {ACTIVE} ORDER BY {IN_TURN}")
    in_turn = [jobs[row["id"]] for row in rows if row["id"] in jobs]
    rank = {JobStatus.PAUSED: 1, JobStatus.QUEUED: 2}
    return sorted(in_turn, key=lambda job: rank.get(job.status, 0))


def ended_jobs(database: Database, search: str = "", limit: int = 50) -> tuple[list[JobRecord], int]:
    """The newest `limit` trainings that have ended and whose names hold `search`, newest first; and the
    number of all such. As far as the visitor may see them."""
    seen, values = visitor().seen_rows(Kind.JOB, "id")
    wanted = " ".join(search[:LONGEST_SEARCH].split()).casefold()
    rows = database.read(
        f"SELECT id, name FROM jobs WHERE status NOT IN {ACTIVE} AND removed = '' AND {seen}"
        " ORDER BY number DESC",
        values,
    )
    found = [row["id"] for row in rows if wanted in row["name"].casefold()]
    store = JobStore(database)
    return [store.get(job_id) for job_id in found[:limit]], len(found)


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """Some steps of a training as one point: the last one of them, their mean loss, its learning rate, None
    where an older version didn't say, and its memory in bytes, 0 where nobody could tell."""

    step: int
    loss: float
    learning_rate: float | None = None
    memory_bytes: int = 0


def curve_points(database: Database, job_id: str, points: int = 200) -> list[CurvePoint]:
    """The curves of a training in at most about `points` points, in order. Raises StoreError."""
    losses = dict(JobStore(database).losses(job_id, points))
    sql = (
        "SELECT step, json_extract(json, '$.learning_rate') AS rate, json_extract(json, '$.memory_bytes') AS"
        " memory FROM events INDEXED BY losses WHERE job_id = ? AND kind = 'StepDone' AND step IN"
        " (SELECT value FROM json_each(?))"
    )
    rows = database.read(sql, (job_id, json.dumps(list(losses))))
    facts = {row["step"]: (row["rate"], row["memory"]) for row in rows}
    found = []
    for step, loss in losses.items():
        rate, memory = facts.get(step, (None, None))
        found.append(CurvePoint(step=step, loss=loss, learning_rate=rate, memory_bytes=memory or 0))
    return found


def job_of_lora(database: Database, slug: str) -> JobRecord | None:
    """The newest training of a LoRA that the visitor may see; None for one that came from elsewhere."""
    seen, values = visitor().seen_rows(Kind.JOB, "id")
    rows = database.read(
        "SELECT id FROM jobs WHERE json_extract(config, '$.output.output_name') = ? AND removed = ''"
        f" AND {seen} ORDER BY number DESC LIMIT 1",
        (slug, *values),
    )
    return JobStore(database).get(rows[0]["id"]) if rows else None


def unfinished_slugs(database: Database) -> set[str]:
    """The slugs of all trainings that wait, run, or were interrupted and go on when somebody wants it."""
    rows = database.read(
        "SELECT DISTINCT json_extract(config, '$.output.output_name') AS slug FROM jobs"
        f" WHERE status IN {ACTIVE} OR (status = 'interrupted' AND removed = '')"
    )
    return {row["slug"] for row in rows}


def ended_mark(database: Database) -> int:
    """A number that changes when the history does."""
    return database.revisions()["history"]


def interrupted_jobs(database: Database, limit: int = 50) -> list[JobRecord]:
    """The newest trainings that were interrupted, newest first, as far as the visitor may see them."""
    seen, values = visitor().seen_rows(Kind.JOB, "id")
    sql = (
        f"SELECT {FIELDS} FROM jobs WHERE status = 'interrupted' AND removed = '' AND {seen}"
        " ORDER BY number DESC LIMIT ?"
    )
    return [record_of(row) for row in database.read(sql, (*values, limit))]


def last_ended(database: Database, since: float) -> JobRecord | None:
    """The training that ended last, if that was after the unix time `since` and the visitor may see it."""
    seen, values = visitor().seen_rows(Kind.JOB, "id")
    sql = (
        f"SELECT {FIELDS} FROM jobs WHERE finished_at > ? AND removed = '' AND {seen}"
        " ORDER BY finished_at DESC LIMIT 1"
    )
    return next(map(record_of, database.read(sql, (since, *values))), None)


def move_job(database: Database, job_id: str, by: int) -> JobRecord:
    """Change the places of a waiting training and the next one of the visitor's own, before it (`by` below 0)
    or after it. At an end of the line it stays. Raises StoreError for one that does not wait."""
    store = JobStore(database)
    store.own(job_id)
    line = [job.id for job in present_jobs(database) if job.status is JobStatus.QUEUED]
    if job_id not in line:
        raise StoreError("This training waits no more.", "Only those that wait can be moved.")
    mine = [one for one in line if visitor().owns(Kind.JOB, one)]
    target = mine.index(job_id) + (1 if by > 0 else -1)
    if 0 <= target < len(mine):
        pair = (job_id, mine[target])
        with database.write() as connection:
            places = [
                connection.execute(f"SELECT {IN_TURN} FROM jobs WHERE id = ?", (one,)).fetchone()[0]
                for one in pair
            ]
            for one, place in zip(pair, reversed(places), strict=True):
                connection.execute(
                    "UPDATE jobs SET place = ?, revision = revision + 1 WHERE id = ?", (place, one)
                )
    return store.get(job_id)
