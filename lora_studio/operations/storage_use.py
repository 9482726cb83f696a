"""The disk that the studio takes, by kind; and the removal of what can be made again, or was deleted."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lora_studio.errors import ConfigError, DeviceBusy
from lora_studio.events import ShouldStop, never_stop
from lora_studio.jobs.ended.removed_trainings import RemovedTrainings
from lora_studio.lora.run_states import FOLDER as STATES
from lora_studio.records import JobStatus
from lora_studio.settings import Settings
from lora_studio.store.database import Database
from lora_studio.store.job_lists import unfinished_slugs
from lora_studio.store.job_store import JobStore
from lora_studio.store.trash import Trash

CHECKPOINTS = "checkpoints"
OLD_SECONDS = 7 * 86400
"""Age from which checkpoints may be cleaned up: by then somebody has chosen."""
DELETED = ("lora", "image", "dataset", "picture")
HUB = "Other programs share this folder; the command hf cache delete removes bases one by one."


@dataclass(frozen=True, kw_only=True)
class StorageKind:
    """A kind of files. `note` says what they are for, `cleaned` what a clean-up removes; empty: nothing."""

    name: str
    title: str
    note: str
    cleaned: str = ""


KINDS = (
    StorageKind(name="bases", title="Base models", note="In models/base, as you put them there."),
    StorageKind(name="hub", title="Base models from the Hub", note=HUB),
    StorageKind(
        name="loras", title="LoRAs", note="With their previews and settings. The Gallery deletes them."
    ),
    StorageKind(
        name="checkpoints",
        title="Checkpoints",
        note="Earlier steps of LoRAs, to choose from.",
        cleaned="Checkpoints older than a week, of trainings that have ended. The LoRAs stay as they are.",
    ),
    StorageKind(name="states", title="States of trainings", note="What Resume goes on from."),
    StorageKind(name="datasets", title="Pictures to train on", note="Sets of pictures with their captions."),
    StorageKind(name="images", title="Images", note="What was drawn, and what was handed in to be redrawn."),
    StorageKind(
        name="caches",
        title="Caches",
        note="Thumbnails, encoded pictures, previews of bases.",
        cleaned="All of it. It is made again when it is needed, which takes a while.",
    ),
    StorageKind(
        name="trash",
        title="Trash",
        note="What was deleted and can be put back.",
        cleaned="All that was deleted, by everybody, for good.",
    ),
    StorageKind(name="uploads", title="Uploads on their way", note="They go by themselves after a day."),
    StorageKind(name="jobs", title="Records and logs", note="The database, and the logs of all trainings."),
)
CLEANABLE = tuple(kind.name for kind in KINDS if kind.cleaned)


@dataclass(frozen=True, kw_only=True)
class StorageUse:
    """The use of a kind; `freed_bytes` and `freed_files` are those that a clean-up would remove."""

    kind: StorageKind
    bytes: int
    files: int
    freed_bytes: int = 0
    freed_files: int = 0

    def facts(self) -> dict[str, str | int]:
        """The numbers with the kind's name and title."""
        return {
            "kind": self.kind.name,
            "title": self.kind.title,
            "bytes": self.bytes,
            "files": self.files,
            "freed_bytes": self.freed_bytes,
            "freed_files": self.freed_files,
        }


def count_storage(
    settings: Settings, database: Database, should_stop: ShouldStop = never_stop
) -> Iterator[StorageUse]:
    """The use of each kind, one by one, since folders may be large; unreadable ones count for nothing."""
    for kind in KINDS:
        if should_stop():
            return
        found = [facts for entry in _entries(kind.name, settings) if (facts := _facts(entry))]
        freed = [facts for path in _cleaned(kind.name, settings, database) if (facts := _facts(path))]
        yield StorageUse(
            kind=kind,
            bytes=sum(facts.st_size for facts in found),
            files=len(found),
            freed_bytes=sum(facts.st_size for facts in freed),
            freed_files=len(freed),
        )


def clean_up(name: str, settings: Settings, database: Database) -> tuple[int, int]:
    """Remove what a kind's clean-up removes, and return how many files and bytes that were. Raises
    ConfigError for a kind that has none, DeviceBusy while somebody reads the caches, StoreError."""
    if name not in CLEANABLE:
        raise ConfigError(
            f"{name[:40]!r} can't be cleaned up.", f"Choose one of {', '.join(CLEANABLE)}.", field="kind"
        )
    if name == "caches" and _is_training(database):
        raise DeviceBusy("A training reads the caches just now.", "Clean them up when it has ended.")
    before = [(path, facts) for path in _cleaned(name, settings, database) if (facts := _facts(path))]
    if name == "trash":
        trash = Trash(settings.trash)
        for entry in trash.entries(DELETED):
            trash.purge(entry.token)
        trainings = RemovedTrainings(database=database, settings=settings)
        for entry in trainings.deleted():
            trainings.purge(entry.token)
    else:
        for path, _ in before:
            with contextlib.suppress(OSError):  # in use on Windows, or gone
                path.unlink()
    gone = [facts for path, facts in before if not path.exists()]
    return len(gone), sum(facts.st_size for facts in gone)


def _is_training(database: Database) -> bool:
    waiting = {JobStatus.QUEUED, JobStatus.PAUSED}
    return any(job.status not in waiting for job in JobStore(database).active())


def _entries(name: str, settings: Settings) -> Iterator[Path]:
    """All files of a kind."""
    match name:
        case "hub":
            from huggingface_hub.constants import HF_HUB_CACHE

            yield from _files(Path(HF_HUB_CACHE))
        case "loras" | "checkpoints" | "states":
            inside = {"checkpoints": CHECKPOINTS, "states": STATES}
            for path in _files(settings.loras):
                room = next(iter(path.relative_to(settings.loras).parts[1:-1]), "")
                if room == inside.get(name) or (name == "loras" and room not in inside.values()):
                    yield path
        case "images":
            yield from _files(settings.images)
            yield from _files(settings.inputs)
        case "jobs":
            for folder in (settings.jobs, settings.home / "logs"):
                yield from _files(folder)
            yield from settings.home.glob(f"{settings.database.name}*")
            yield from settings.home.glob("*.jsonl")
        case _:
            folders = {
                "bases": settings.bases,
                "datasets": settings.datasets,
                "caches": settings.cache,
                "trash": settings.trash,
                "uploads": settings.uploads,
            }
            yield from _files(folders[name])


def _cleaned(name: str, settings: Settings, database: Database) -> Iterator[Path]:
    """The files that a kind's clean-up removes."""
    if name in {"caches", "trash"}:
        yield from _entries(name, settings)
    elif name == CHECKPOINTS:
        busy = unfinished_slugs(database)
        oldest = time.time() - OLD_SECONDS
        for path in _entries(name, settings):
            slug, facts = path.relative_to(settings.loras).parts[0], _facts(path)
            if path.suffix == ".safetensors" and slug not in busy and facts and facts.st_mtime < oldest:
                yield path


def _files(folder: Path) -> Iterator[Path]:
    """All files below a folder. Links are not followed: what they lead to is kept elsewhere."""
    try:
        with os.scandir(folder) as entries:
            listed = list(entries)
    except OSError:
        return
    for entry in listed:
        if entry.is_symlink():
            continue
        if entry.is_dir():
            yield from _files(Path(entry.path))
        else:
            yield Path(entry.path)


def _facts(path: Path) -> os.stat_result | None:
    try:
        facts = path.lstat()
    except OSError:
        return None
    return facts if stat.S_ISREG(facts.st_mode) else None
