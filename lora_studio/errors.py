"""Errors with a cause that a person can act on.

StudioError
├── ConfigError          a setting is wrong; names the field
├── DatasetError         a picture, caption or folder is wrong; names the path
├── ModelFileError       a weights file or model folder is wrong; names the path
│   ├── UnknownFormat    readable, but nothing we know
│   ├── BrokenFile       damaged, truncated, or not finite
│   └── FamilyMismatch   fine, but made for another kind of base model
├── DeviceBusy           somebody else holds the device
├── DeviceLost           the device failed in the middle of the work
├── NetworkLost          a server that had begun to answer is gone
├── OutOfMemory          the device or the machine has too little memory
├── Diverged             the loss is no longer a number
├── StoreError           a record is missing, or the database cannot be written
│   └── DiskFull         something does not fit on the disk
├── NotAllowed           the visitor's role, or somebody else's ownership, forbids it
│   └── QuotaReached     it goes beyond what the visitor may use
└── MirrorError          the remote copy of the status cannot be reached
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


class StudioError(Exception):
    """A failure with one clear sentence and, where there is one, the way out.

    `message` says what is wrong and where; `hint` says what to do.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class ConfigError(StudioError):
    """`field` is the setting's leaf name, as in `network_dim`; empty when no single one is at fault. `others`
    are refusals of further settings, found in the same look."""

    def __init__(
        self, message: str, hint: str = "", *, field: str = "", others: Sequence[ConfigError] = ()
    ) -> None:
        super().__init__(message, hint)
        self.field = field
        self.others = tuple(others)

    @property
    def each(self) -> tuple[ConfigError, ...]:
        """Return this refusal and the others, one a setting."""
        found = {one.field or one.message: one for one in reversed((self, *self.others))}
        return tuple(reversed(found.values()))


class _PathError(StudioError):
    def __init__(self, message: str, hint: str = "", *, path: str | Path = "") -> None:
        super().__init__(message, hint)
        self.path = str(path)


class DatasetError(_PathError):
    pass


class ModelFileError(_PathError):
    pass


class UnknownFormat(ModelFileError):
    pass


class BrokenFile(ModelFileError):
    pass


class FamilyMismatch(ModelFileError):
    pass


class DeviceBusy(StudioError):
    pass


class DeviceLost(StudioError):
    pass


class NetworkLost(StudioError):
    pass


class OutOfMemory(StudioError):
    pass


class Diverged(StudioError):
    pass


class StoreError(StudioError):
    pass


class DiskFull(StoreError):
    pass


class NotAllowed(StudioError):
    pass


class QuotaReached(NotAllowed):
    pass


class MirrorError(StudioError):
    pass
