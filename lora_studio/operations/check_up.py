"""The look at the installation that somebody asks for on the page, made in a thread of its own."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

from lora_studio.access.roles import Role
from lora_studio.access.visitor import visitor
from lora_studio.errors import StoreError
from lora_studio.files import disk_errors
from lora_studio.operations import storage_use, studio_logs
from lora_studio.operations.findings import Finding
from lora_studio.operations.installation_checks import examine
from lora_studio.operations.storage_use import StorageUse
from lora_studio.settings import Settings
from lora_studio.store.database import Database

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class CheckUpState:
    """The findings so far. `at` is the unix time of the end, 0 before any; `running` whether more comes."""

    findings: tuple[Finding, ...] = ()
    storage: tuple[StorageUse, ...] = ()
    running: bool = False
    at: float = 0.0


class CheckUp:
    """The last look, and the clean-up of what it counted. For admins, who see all. Raises NotAllowed."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings, self._database = settings, database
        self._lock, self._closing = threading.Lock(), threading.Event()
        self._state, self._thread = CheckUpState(), threading.Thread()
        self.revision = 0
        """A number that changes with the state."""

    @property
    def state(self) -> CheckUpState:
        """The findings so far."""
        visitor().needs(Role.ADMIN)
        return self._state

    def begin(self) -> CheckUpState:
        """Look anew, in the background; a look that runs already goes on."""
        visitor().needs(Role.ADMIN)
        with self._lock:
            if not self._state.running and not self._closing.is_set():
                self._set(CheckUpState(running=True))
                self._thread = threading.Thread(target=self._look, name="check-up", daemon=True)
                self._thread.start()
        return self._state

    def findings(self) -> list[Finding]:
        """The findings of all checks that draw nothing, made now."""
        visitor().needs(Role.ADMIN)
        return list(examine(self._settings, draws=False))

    def storage(self) -> list[StorageUse]:
        """The disk that the studio takes, counted now."""
        visitor().needs(Role.ADMIN)
        return list(storage_use.count_storage(self._settings, self._database))

    def clean_up(self, kind: str) -> tuple[int, int]:
        """Remove what a kind's clean-up removes, see `storage_use.clean_up`."""
        visitor().needs(Role.ADMIN)
        removed = storage_use.clean_up(kind, self._settings, self._database)
        if self._state.at:
            self.begin()  # the shown numbers are wrong now
        return removed

    def pack_logs(self) -> Path:
        """A ZIP of all logs among the uploads, which are cleared by themselves. Raises StoreError."""
        visitor().needs(Role.ADMIN)
        folder = self._settings.uploads / secrets.token_hex(20)
        with disk_errors("The logs", "packed"):
            folder.mkdir(parents=True)
        name = f"lora-studio-logs-{time.strftime('%Y%m%d-%H%M%S')}.zip"
        return studio_logs.pack_logs(self._settings, folder / name, self._state.findings)

    def close(self) -> None:
        """Let a look that runs end at its next finding."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(timeout=2.0)

    def _look(self) -> None:
        try:
            for use in storage_use.count_storage(self._settings, self._database, self._closing.is_set):
                self._set(replace(self._state, storage=(*self._state.storage, use)))
            for finding in examine(self._settings, draws=False):
                if self._closing.is_set():
                    break
                self._set(replace(self._state, findings=(*self._state.findings, finding)))
        except StoreError as error:  # the database is being closed, or can't be read, which a finding says
            logger.warning("the check-up ended early: %s", error)
        finally:
            self._set(replace(self._state, running=False, at=time.time()))

    def _set(self, state: CheckUpState) -> None:
        self._state = state
        self.revision += 1
