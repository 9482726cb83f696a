"""The queue of trainings, run one after the other in a thread of its own, with all state in the store."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from lora_studio.config import TrainConfig
from lora_studio.errors import DeviceBusy, StoreError, StudioError
from lora_studio.events import Command, Emit, Failed, Noted, ShouldStop, Stopped
from lora_studio.files import check_room, remove_unfinished
from lora_studio.jobs.early_endings import last_word, leaves_a_lora, paused_by_closing
from lora_studio.jobs.event_log import EventLog
from lora_studio.jobs.event_sink import EventSink
from lora_studio.jobs.processes.process_worker import is_at_work
from lora_studio.lora.run_states import state_folder
from lora_studio.parsing.slugs import free_slug
from lora_studio.records import JobRecord, JobStatus, StoredEvent
from lora_studio.store.event_spool import NAME as UNSTORED
from lora_studio.store.event_spool import EventSpool, laid_over, replay
from lora_studio.store.job_store import JobStore
from lora_studio.store.process_owner import is_alive, this_process
from lora_studio.training_request import RunRequest

logger = logging.getLogger(__name__)

BEAT_SECONDS = 2.0
ORPHAN_SECONDS = 15.0
SETTLE_SECONDS = 30.0
"""Seconds that the end of a run waits for a database that can't take it."""
OWN_ENGINE = "lora-studio"
MOST_WAITING = 100
FROM_THE_START = "It begins from the start: no state was saved before it ended."


class Worker(Protocol):
    """A runner of one training. It ends with a Finished, Stopped or Paused event, or with an exception."""

    def run(self, request: RunRequest, emit: Emit, should_stop: ShouldStop) -> None: ...


class TrainingQueue:
    """The queue of this process. The store is shared with other processes: a queue runs its own jobs and
    those of dead processes. `on_finished` is called in the worker's thread after each training that finished
    or was stopped, `on_ended` with each whose run has ended in any way, also in a process that died."""

    def __init__(
        self,
        store: JobStore,
        worker: Worker,
        on_finished: Callable[[JobRecord], object] | None = None,
        on_ended: Callable[[JobRecord], object] | None = None,
        *,
        owner: str = "",
        beat_seconds: float = BEAT_SECONDS,
    ) -> None:
        self._store, self._worker, self._on_finished, self._on_ended = store, worker, on_finished, on_ended
        self._owner = owner or this_process()
        self._beat_seconds = beat_seconds
        self._changed = threading.Condition()
        self._wake, self._closing = threading.Event(), threading.Event()
        self._current, self._stop_current = "", threading.Event()
        self._told_current = threading.Event()
        self._unsettled: list[EventSink] = []
        self._threads: list[threading.Thread] = []
        self._only, self._stopped = "", ""

    def start(self, *, only: str = "") -> None:
        """Clear up after dead processes, then run the waiting jobs. With `only`, run that job and take over
        nobody else's. A second call does nothing."""
        if self._threads:
            return
        self._only = only
        if not only:
            self.clear_up()
        self._threads = [
            threading.Thread(target=self._work, name="training", daemon=True),
            threading.Thread(target=self._watch, name="heartbeat", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def close(self, timeout: float = 30.0) -> None:
        """Ask the running training to stop and wait for it, at most `timeout` seconds. Waiting jobs stay."""
        self._closing.set()
        if current := self._current:
            try:
                if self._store.stop(current, only_running=True).status.active:
                    self._store.append(current, Noted(message="The studio is being closed.", level="warning"))
            except StoreError as error:
                logger.warning("%s", error)
            self._stop_current.set()
        self._wake.set()
        give_up = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, give_up - time.monotonic()))

    def submit(self, config: TrainConfig, fork_of: str = "") -> JobRecord:
        """Put a training into the queue; with `fork_of` it begins with that state folder's weights. Raises
        ConfigError when another job writes there, DeviceBusy when too many wait, DiskFull, StoreError."""
        self._check_limits(config.output.output_dir)
        job = self._store.create(config, self._owner, fork_of=fork_of)
        self._wake.set()
        self._notify()
        return job

    def _check_limits(self, output_dir: str) -> None:
        """Refuse a training that there is no place for. Raises DeviceBusy when too many wait, DiskFull."""
        waiting = sum(job.status is JobStatus.QUEUED for job in self._store.active())
        if waiting >= MOST_WAITING:
            raise DeviceBusy(
                f"{waiting} trainings are waiting already.", "Wait until some are done, or stop some."
            )
        check_room(Path(output_dir), "A training")

    def again(self, job_id: str) -> JobRecord:
        """Submit the same training anew, under a new name if the old one left files. Raises StudioError."""
        source = self._store.own(job_id).fork_of
        return self.submit(
            self._under_a_free_name(job_id), fork_of=source if source and Path(source).is_dir() else ""
        )

    def fork(self, job_id: str) -> JobRecord:
        """Submit a new training with the same settings, under a new name, that begins with the weights which
        the job's last state holds. Raises StudioError."""
        state = self._state(job_id)
        return self.submit(self._under_a_free_name(job_id), fork_of=str(state))

    def resume(self, job_id: str) -> JobRecord:
        """Let a paused, interrupted, stopped or failed job go on at its last state, or begin anew when it
        ended before it had one. Raises StoreError when it is done or its state is gone, ConfigError when
        another job writes to its folder meanwhile."""
        if self._store.own(job_id).status.active:
            self.clear_up()  # its program may have been killed since anybody looked
        if self._store.get(job_id).state_step is not None:
            self._state(job_id)
        self._check_limits(self._store.get(job_id).config["output"]["output_dir"])
        job = self._store.resume(job_id, self._owner)
        self._wake.set()
        self._notify()
        return job

    def pause(self, job_id: str) -> JobRecord:
        """Pause a waiting job at once, a running one after its step: it lets go of the device and can be
        resumed, also after a restart. Raises StoreError for a job that neither waits nor runs, and for one by
        sd-scripts."""
        job = self._store.get(job_id)
        if TrainConfig.from_json(job.config).run.engine != OWN_ENGINE:
            raise StoreError(
                f"The training {job.name} can't be paused: sd-scripts can't go on from where it was.",
                "Stop it instead.",
            )
        return self._tell(job_id, "pause")

    def save_now(self, job_id: str) -> JobRecord:
        """Save a checkpoint after the present step. Raises StoreError when the job does not run."""
        return self._tell(job_id, "save")

    def preview_now(self, job_id: str) -> JobRecord:
        """Draw previews after the present step. Raises StoreError when the job does not run."""
        return self._tell(job_id, "preview")

    def _tell(self, job_id: str, command: Command) -> JobRecord:
        job = self._store.command(job_id, command)
        if self._current == job_id:
            self._told_current.set()
        self._notify()
        return job

    def _state(self, job_id: str) -> Path:
        """The folder of a job's states. Raises StoreError when there is none."""
        job = self._store.own(job_id)
        folder = state_folder(job.config["output"]["output_dir"])
        if job.state_step is None or not folder.is_dir():
            raise StoreError(f"The training {job.name} has left no state to go on from.", "Start it over.")
        return folder

    def _under_a_free_name(self, job_id: str) -> TrainConfig:
        config = TrainConfig.from_json(self._store.get(job_id).config)
        output, in_use = config.output, self.names_in_use()

        def place(slug: str) -> Path:
            folder = Path(output.output_dir)
            return folder if slug == output.output_name else folder.with_name(slug)

        slug = free_slug(output.output_name, lambda slug: slug in in_use or _has_files(place(slug)))
        return config.with_values({"output_name": slug, "output_dir": str(place(slug))})

    def stop(self, job_id: str) -> JobRecord:
        """Stop a waiting job at once, a running one within a step. Raises StoreError."""
        job = self._store.stop(job_id)
        if self._current == job_id:
            self._stopped = job_id
            self._stop_current.set()
        self._notify()
        return job

    def get(self, job_id: str) -> JobRecord:
        return self._with_unstored(self._store.get(job_id))

    def jobs(self, limit: int = 50) -> list[JobRecord]:
        """The newest jobs, newest first."""
        return [self._with_unstored(job) for job in self._store.jobs(limit)]

    def _with_unstored(self, job: JobRecord) -> JobRecord:
        return laid_over(job, self._store.folder(job.id))

    def running(self) -> JobRecord | None:
        waiting = {JobStatus.QUEUED, JobStatus.PAUSED}
        return next((job for job in self._store.active(seen=True) if job.status not in waiting), None)

    def names_in_use(self) -> set[str]:
        """Slugs that waiting, running and paused jobs will write to."""
        return {job.slug for job in self._store.active()}

    def events(
        self, job_id: str, after: int = 0, kinds: Collection[str] = (), limit: int | None = None
    ) -> list[StoredEvent]:
        """Events of a job, see `JobStore.events`."""
        return self._store.events(job_id, after, kinds, limit)

    def log_tail(self, job_id: str, lines: int = 100) -> str:
        """The last lines of the job's log. Raises StoreError for a job that does not exist."""
        return self._journal(self._store.get(job_id).id).tail(lines)

    @property
    def revision(self) -> int:
        """A number that changes with any change of any job, also by other processes."""
        unstored = sum(EventSpool(self._store.folder(job.id)).size() for job in self._store.active())
        return self._store.revision() + unstored

    def wait(self, job_id: str, timeout: float | None = None) -> JobRecord:
        """The job once it has ended and `on_finished` is through, or as it is after `timeout` seconds."""
        give_up = None if timeout is None else time.monotonic() + timeout
        while True:
            job = self._store.get(job_id)
            left = 1.0 if give_up is None else give_up - time.monotonic()
            if (not job.status.active and self._current != job_id) or left <= 0:
                return job
            with self._changed:
                self._changed.wait(min(left, 0.25))  # other processes do not notify

    def _work(self) -> None:
        while not self._closing.is_set():
            self._wake.clear()
            try:
                job = self._take()
            except StoreError as error:
                logger.warning("the queue can't be read for now: %s", error)
                job = None
            if job is None:
                self._wake.wait(self._beat_seconds)
            else:
                self._run(job)

    def _take(self) -> JobRecord | None:
        job = self._store.get(self._only) if self._only else self._store.next_queued(self._owner)
        if job is None or job.status != JobStatus.QUEUED:
            return None
        # Before the claim, so that stop() finds it.
        self._current, self._stop_current, self._told_current = job.id, threading.Event(), threading.Event()
        if self._store.claim(job.id, self._owner):
            return job
        self._current = ""
        return None

    def _run(self, job: JobRecord) -> None:
        sink = EventSink(self._store, job.id, self._journal(job.id), self._notify)
        resumes = job.config.get("run", {}).get("engine", OWN_ENGINE) == OWN_ENGINE
        try:
            request = self._request(job, sink.folder)
            if job.run > 1 and job.state_step is None:
                sink(Noted(message=FROM_THE_START))
            stop, emit = (
                self._stop_current,
                paused_by_closing(sink, self._closing, lambda: self._stopped == job.id) if resumes else sink,
            )
            self._worker.run(request, emit, lambda: stop.is_set() or self._closing.is_set())
            if sink.last_word is None:
                emit(self._missing_word(job.id))
        except (Exception, SystemExit) as error:  # the worker: whatever it was, the queue goes on
            if not isinstance(error, StudioError):
                logger.exception("job %s failed", job.id)
            sink.tell(traceback.format_exc())
            if sink.last_word is None:
                sink(last_word(error, step=sink.saved_step or job.state_step or 0, resumes=resumes))
        if not sink.settle(SETTLE_SECONDS):
            logger.error("the end of job %s could not be stored yet", job.id)
            self._unsettled.append(sink)
        self._tell_ended(job.id, left=leaves_a_lora(sink.last_word))
        self._current = ""
        self._notify()

    def _request(self, job: JobRecord, folder: Path) -> RunRequest:
        """The request for the worker: configuration, state to begin with, commands."""
        command_waits = self._told_current

        def next_command() -> Command | None:
            if not command_waits.is_set():
                return None
            command_waits.clear()
            try:
                command = self._store.take_command(job.id)
            except StoreError as error:  # it stays there for the next look
                logger.warning("%s", error)
                return None
            if command is not None:
                command_waits.set()  # there may be more
            return command

        config = TrainConfig.from_json(job.config)
        request = RunRequest(config=config, folder=folder, commands=next_command)
        if job.state_step is not None:
            return replace(request, resume_from=state_folder(config.output.output_dir))
        if job.fork_of:
            return replace(request, resume_from=Path(job.fork_of), fork=True)
        return request

    def _missing_word(self, job_id: str) -> Stopped | Failed:
        if self._stop_current.is_set() or self._closing.is_set():
            return Stopped(step=self._store.get(job_id).step)
        return Failed(message="The training ended without a result.", hint="See the job's log.")

    def _tell_ended(self, job_id: str, *, left: bool) -> None:
        try:
            for listener in (self._on_ended, self._on_finished if left else None):  # which may take minutes
                if listener is not None:
                    listener(self._store.get(job_id))
        except Exception:  # the worker: the training is done, whatever its listeners do
            logger.exception("after a training")

    def _watch(self) -> None:
        """Send heartbeats, hear stop requests and commands from other processes, and clear up after dead
        ones."""
        cleared = time.monotonic()
        while not self._closing.wait(self._beat_seconds):
            try:
                if current := self._current:
                    self._store.heartbeat(self._owner)
                    stopping = self._store.get(current).status == JobStatus.STOPPING
                    if stopping and current == self._current and not self._closing.is_set():
                        self._stopped = current
                        self._stop_current.set()
                    if self._store.has_commands(current) and current == self._current:
                        self._told_current.set()
                self._unsettled = [late for late in self._unsettled if not late.settle(timeout=0)]
                if not self._only and time.monotonic() - cleared >= ORPHAN_SECONDS:
                    cleared = time.monotonic()
                    self.clear_up()
            except StoreError as error:
                logger.warning("no heartbeat: %s", error)

    def clear_up(self) -> None:
        """Store events that dead processes could not, interrupt the jobs that ran there, take over those that
        waited."""
        self._replay()
        for job in self._store.interrupt_orphans(self._owner):
            logger.warning("job %s (%s): %s", job.id, job.name, job.message)
            if not is_at_work(self._store.folder(job.id)):  # else it saves a state just now
                remove_unfinished(Path(job.config["output"]["output_dir"]))
            self._tell_ended(job.id, left=False)
        self._wake.set()
        self._notify()

    def _replay(self) -> None:
        in_work = {self._current, *(sink.folder.name for sink in self._unsettled)}
        for path in self._store.folder("").glob(f"*/{UNSTORED}"):
            job_id = path.parent.name
            try:
                job = self._store.get(job_id)
                silence = time.time() - (job.heartbeat_at or job.created_at)
                if job_id not in in_work and (
                    job.owner == self._owner or not is_alive(job.owner, silence=silence)
                ):
                    count = replay(self._store, job_id)
                    logger.info("job %s: %s events stored that could not be before", job_id, count)
            except (StoreError, OSError) as error:
                logger.warning("the events in %s can't be stored: %s", path, error)

    def _journal(self, job_id: str) -> EventLog:
        return EventLog(self._store.folder(job_id))

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()


def _has_files(folder: Path) -> bool:
    return any(path.is_file() for path in folder.rglob("*"))
