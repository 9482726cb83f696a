"""Remote commands: stop, pause or resume a training of this home, asked for in Supabase, and the clearing up
of trainings whose machine has fallen silent."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol

from lora_studio.errors import StudioError
from lora_studio.records import JobRecord, JobStatus
from lora_studio.store.supabase_client import Supabase
from lora_studio.store.supabase_errors import NotAllowed, Refused

logger = logging.getLogger(__name__)

DONE_BY = {
    "stop": {JobStatus.STOPPING, JobStatus.STOPPED, JobStatus.FINISHED, JobStatus.FAILED},
    "pause": {JobStatus.PAUSING, JobStatus.PAUSED, JobStatus.FINISHED, JobStatus.FAILED, JobStatus.STOPPED},
    "resume": {JobStatus.QUEUED, JobStatus.RUNNING},
}
"""Statuses at which nothing is left to do; the mirror's own trigger then removes the command."""


class SteeredQueue(Protocol):
    """The queue, as far as remote commands go."""

    def get(self, job_id: str) -> JobRecord: ...
    def stop(self, job_id: str) -> JobRecord: ...
    def pause(self, job_id: str) -> JobRecord: ...
    def resume(self, job_id: str) -> JobRecord: ...


class RemoteCommands:
    """The commands for this machine, which each names its worker. Raises Unreachable, NotAllowed."""

    def __init__(self, remote: Supabase, queue: SteeredQueue, machine: str) -> None:
        self._remote, self._queue, self._machine = remote, queue, machine
        self._may_reap = True

    def look(self, *, only: str = "") -> int:
        """Do the commands for this machine, or for its training `only`; returns their number."""
        rows = self._remote.select(
            "training_jobs",
            "id,local_id,desired_state",
            worker_id=self._machine,
            desired_state__neq="none",
        )
        rows = [row for row in rows if only in ("", row["local_id"])]
        for row in rows:
            self._grant(row)
        return len(rows)

    def reap(self) -> None:
        """Mark trainings of machines long silent. Needs a secret key: an account's leaves it to others."""
        if self._may_reap:
            try:
                self._remote.call("reap_stale_jobs")
            except (NotAllowed, Refused) as error:
                self._may_reap = False
                logger.info("stale trainings are not cleared up from here: %s", error)

    def _grant(self, row: dict[str, Any]) -> None:
        wish, job_id = str(row["desired_state"]), str(row["local_id"])
        act: Callable[[str], JobRecord] = getattr(self._queue, wish)
        try:
            if self._queue.get(job_id).status in DONE_BY[wish]:
                return
            job = act(job_id)
            logger.info("%s of %s, as asked through Supabase: %s", wish, job_id, job.status)
            if job.status in DONE_BY[wish]:
                return
        except StudioError as error:
            logger.warning("Supabase asks to %s a training: %s", wish, error)
        # It can't be done, so it must not be asked for ever; a newer wish stays.
        self._remote.update("training_jobs", {"desired_state": "none"}, id=row["id"], desired_state=wish)
