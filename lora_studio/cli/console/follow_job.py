"""Follow a job from this process until it ends, whoever runs it."""

from __future__ import annotations

import time
from typing import Any

from lora_studio.cli.console.ctrl_c import stop_request
from lora_studio.cli.console.progress_bar import Progress
from lora_studio.records import JobRecord, JobStatus
from lora_studio.studio import Studio

LOOK_SECONDS = 0.1
LIBRARY_SECONDS = 60.0
"""Seconds from the end of a job until its LoRA is in the library, at most."""


def follow(studio: Studio, job_id: str, progress: Progress) -> JobRecord:
    """Show the job's events as they are stored and return its last record. Ctrl+C asks the job to stop; it
    then ends within a step and leaves a loadable file."""
    seen, stopping = 0, False
    with stop_request("Stopping after this step; what was learned so far is kept.") as asked:
        while True:
            if asked() and not stopping:
                stopping = True
                studio.jobs.stop(job_id)
            record = studio.jobs.get(job_id)  # before the events, so that none of an ended job is missed
            for stored in studio.jobs.events(job_id, after=seen):
                seen = stored.sequence
                progress.show(stored.event)
            if not record.status.active:
                progress.close()
                return studio.jobs.wait(job_id, timeout=LIBRARY_SECONDS)
            time.sleep(LOOK_SECONDS)


def describe_job(record: JobRecord) -> dict[str, Any]:
    """A job as JSON for scripts: its record without the fields that only the store needs."""
    return {
        "id": record.id,
        "name": record.name,
        "status": str(record.status),
        "progress": round(record.progress, 1),
        "phase": record.phase,
        "step": record.step,
        "total_steps": record.total_steps,
        "loss": record.loss,
        "seconds_left": record.seconds_left,
        "message": record.message,
        "hint": record.hint,
        "result": record.result_path,
        "created_at": record.created_at,
        "started_at": record.started_at,
        "finished_at": record.finished_at,
    }


def exit_code(record: JobRecord) -> int:
    """The exit code of a job: 0 finished, 130 stopped or paused, 2 failed or interrupted."""
    return {JobStatus.FINISHED: 0, JobStatus.STOPPED: 130, JobStatus.PAUSED: 130}.get(record.status, 2)
