"""The mirror in Supabase: a thread that sends rows and files, does remote commands, and reports its state.

Nothing else ever waits for the network: page, queue and training write to the local store, whose triggers
fill the outbox. Of several processes on one home folder one sends at a time.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lora_studio.access.roles import Role
from lora_studio.access.visitor import visitor
from lora_studio.errors import MirrorError, StoreError
from lora_studio.gallery import Gallery
from lora_studio.jobs.supabase.push import Pace, Sender
from lora_studio.jobs.supabase.remote_commands import RemoteCommands, SteeredQueue
from lora_studio.jobs.supabase.rows import worker_of
from lora_studio.jobs.supabase.shared_loras import SharedLora, download, list_team
from lora_studio.jobs.supabase.storage_uploads import Uploads
from lora_studio.records import LoraRecord
from lora_studio.settings import Settings
from lora_studio.store.database import Database
from lora_studio.store.job_store import JobStore
from lora_studio.store.library import Library
from lora_studio.store.machine_id import machine_id
from lora_studio.store.outbox import FILES, ROWS, Outbox
from lora_studio.store.process_owner import this_process
from lora_studio.store.supabase_client import Supabase
from lora_studio.store.supabase_errors import NotAllowed, Unreachable

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger(__name__)

TURN_SECONDS = 60.0
REAP_EVERY = 12
"""Looks at the remote commands for one clearing up of stale trainings."""
TEAM_SECONDS, TEAM_ASKED_SECONDS = 30.0, 120.0
IDLE_TIMES = 6
"""Factor between two looks at the remote commands while nothing runs."""


@dataclass(frozen=True, kw_only=True)
class MirrorState:
    """The mirror's progress. `waiting` counts changes it has not got yet, `refused` those it would not take;
    `reason` is a sentence when something is wrong."""

    state: Literal["off", "synced", "waiting", "paused"]
    waiting: int = 0
    reason: str = ""
    refused: int = 0


class Mirror:
    """The mirror's thread. Off without SUPABASE_URL and SUPABASE_KEY. A failure opens a circuit: nothing is
    tried before the back-off is over, then one request is the probe. `transport` stands below the real
    client, for tests."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        queue: SteeredQueue,
        gallery: Gallery,
        *,
        pace: Pace | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._settings, self._gallery, self._queue = settings, gallery, queue
        self._jobs, self._library = JobStore(database), Library(database)
        self._outbox, self._pace = Outbox(database), pace or Pace()
        self._remote = Supabase(settings, transport=transport)
        self._owner = this_process()
        self._kinds = (*ROWS, *FILES) if settings.supabase_uploads else ROWS
        self._thread: threading.Thread | None = None
        self._closing, self._wake = threading.Event(), threading.Event()
        self._arriving = threading.Lock()
        self._turn_ends = self._wishes_at = 0.0
        self._looks = 0
        self._team: tuple[SharedLora, ...] = ()
        self._team_asked, self._team_at = -TEAM_ASKED_SECONDS, -TEAM_SECONDS

    @property
    def is_on(self) -> bool:
        return bool(self._settings.supabase_url and self._settings.supabase_key)

    def start(self, *, only: str = "") -> None:
        """Begin to send; with `only`, only commands for that training are done, as `TrainingQueue.start` runs
        that one alone. Does nothing when the mirror is off or has begun. Raises StoreError."""
        if not self.is_on or self._thread is not None:
            return
        machine = worker_of(machine_id(self._settings.home), self._settings.supabase_email)
        of = f"{self._settings.supabase_url.rstrip('/')} {self._settings.supabase_email}"
        self._outbox.aim_at(hashlib.sha256(of.encode()).hexdigest()[:16])
        parts = (self._outbox, self._jobs, self._library, self._remote)
        self._machine, self._only = machine, only
        self._sender = Sender(*parts, machine=machine, pace=self._pace)
        self._uploads = Uploads(*parts, machine=machine, pace=self._pace)
        self._wishes = RemoteCommands(self._remote, self._queue, machine)
        self._thread = threading.Thread(target=self._work, name="mirror", daemon=True)
        self._thread.start()

    def close(self, timeout: float = 5.0) -> None:
        """Send once more if the last time went well, and end; at most `timeout` seconds."""
        self._closing.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout)
        self._remote.close()

    def state(self) -> MirrorState:
        """The state, read from the store alone, also in a process that does not send. Raises StoreError."""
        if not self.is_on:
            return MirrorState(state="off")
        sending, reason = self._outbox.state()
        waiting, refused = self._outbox.count(self._kinds), self._outbox.refused()
        if sending == "paused":
            return MirrorState(state="paused", waiting=waiting, reason=reason, refused=refused)
        if waiting or sending:  # what can't be asked can't be called synced
            reason = reason or self._outbox.trouble(self._kinds)
            return MirrorState(state="waiting", waiting=waiting, reason=reason, refused=refused)
        return MirrorState(state="synced", refused=refused)

    def flush(self, timeout: float) -> bool:
        """Wait until the mirror has everything; False if that took longer than `timeout` seconds."""
        give_up = time.monotonic() + timeout
        while self.state().state != "synced":
            if time.monotonic() > give_up:
                return False
            self._wake.set()
            time.sleep(0.02)
        return True

    def team(self) -> tuple[SharedLora, ...]:
        """LoRAs of other machines that are not here, as last seen; calls keep the list fresh."""
        if not visitor().may(Role.ADMIN):
            return ()
        if self.is_on:
            self._team_asked = time.monotonic()
        return self._team

    def fetch(self, lora_id: str) -> LoraRecord:
        """Bring a shared LoRA here over the network. Raises StoreError, ModelFileError, MirrorError."""
        visitor().needs(Role.ADMIN)
        if not self.is_on:
            raise StoreError("Supabase is not set up.", "See docs/supabase.md.")
        folder = self._settings.cache / "team" / str(threading.get_ident())
        try:
            file = download(self._remote, lora_id, folder)
            with self._arriving:  # else a round in between would send it back
                record = self._gallery.import_lora(file)
                self._outbox.settle("lora", record.slug)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        self._team = tuple(lora for lora in self._team if lora.id != lora_id)
        return record

    def _work(self) -> None:
        failures = 0
        while not (self._closing.is_set() and failures):
            last, delay = self._closing.is_set(), self._pace.look
            try:
                spoke, has_more = self._round()
                if spoke:
                    self._outbox.set_state("")
                failures, delay = 0, 0.0 if has_more else delay
            except NotAllowed as error:
                failures, delay = failures + 1, self._pace.paused
                self._tell("paused", error)
            except MirrorError as error:
                failures += 1
                asked = error.retry_after if isinstance(error, Unreachable) else 0.0
                delay = self._pace.after(failures, asked)
                self._tell("waiting", error)
            except StoreError as error:  # locked, or being closed
                logger.debug("the mirror waits for the store: %s", error)
            except Exception:  # the worker: whatever it was, the trainings go on and so does the mirror
                failures += 1
                delay = self._pace.after(failures)
                if not self._closing.is_set():  # closing takes the connection away
                    logger.exception("the mirror stumbled")
            if last:
                break
            if failures:
                self._closing.wait(delay)  # nobody wakes it before the back-off is over
            else:
                self._wake.wait(delay)
            self._wake.clear()
        self._end()

    def _round(self) -> tuple[bool, bool]:
        """(whether the mirror was spoken to, whether the next chunk of a file waits)."""
        spoke = has_more = False
        if self._outbox.count(self._kinds) and self._is_my_turn():
            with self._arriving:
                self._sender.round()
            if self._settings.supabase_uploads and not self._closing.is_set():
                has_more = self._uploads.round()
            spoke = True
        now = time.monotonic()
        if now >= self._wishes_at and not self._closing.is_set():
            self._look_at_wishes()
            self._wishes_at = now + self._pace.wishes * (1 if self._jobs.active() else IDLE_TIMES)
            spoke = spoke or not self._outbox.count(self._kinds)  # else how it goes is the sender's to say
        if now - self._team_asked < TEAM_ASKED_SECONDS and now - self._team_at >= TEAM_SECONDS:
            self._team_at = now
            here = {record.id for record in self._library.loras()}
            self._team = list_team(self._remote, self._machine, here)
        return spoke, has_more

    def _look_at_wishes(self) -> None:
        """Do remote commands: each process for its own training, the one that has the page for all others."""
        self._wishes.look(only=self._only)
        self._looks += 1
        if self._looks % REAP_EVERY == 1 and not self._only:
            self._wishes.reap()

    def _is_my_turn(self) -> bool:
        now = time.monotonic()
        if now >= self._turn_ends - TURN_SECONDS / 2:
            if not self._outbox.take_turn(self._owner, TURN_SECONDS):
                return False
            self._turn_ends = now + TURN_SECONDS
        return True

    def _tell(self, state: str, error: MirrorError) -> None:
        try:
            self._outbox.set_state(state, str(error))
        except StoreError as trouble:
            logger.debug("%s", trouble)

    def _end(self) -> None:
        try:
            self._outbox.end_turn(self._owner)
        except StoreError as error:
            logger.debug("%s", error)
