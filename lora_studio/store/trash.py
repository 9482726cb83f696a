"""Deleted files, kept with a note that lets them be put back."""

from __future__ import annotations

import contextlib
import errno
import json
import re
import shutil
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from lora_studio.access.visitor import Kind, visitor
from lora_studio.errors import StoreError
from lora_studio.files import disk_errors, reason

TOKEN = re.compile(r"[0-9a-f]{32}")
NOTE, LEAVING = "deleted.json", ".leaving"


@dataclass(frozen=True, kw_only=True)
class Deleted:
    """One deletion. `kind` is lora, image, dataset or training, `paths` are the former places of its files
    and folders; the one at place i is kept as `<i>-<name>` beside the note."""

    token: str
    kind: str
    title: str
    at: float
    paths: tuple[str, ...]


class Trash:
    """A folder of deletions. The note about one is written before anything moves, so that a deletion cut
    short can be undone as well. Each is there for who deleted it, and for admins. Raises StoreError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, kind: str, title: str, paths: Sequence[Path]) -> str:
        """Move files or folders here; returns the token that brings them back."""
        token = uuid.uuid4().hex
        entry = Deleted(
            token=token, kind=kind, title=title, at=time.time(), paths=tuple(str(path) for path in paths)
        )
        place = self._folder / token
        try:
            place.mkdir(parents=True)
            (place / NOTE).write_text(json.dumps(asdict(entry)), encoding="utf-8")
            for number, path in enumerate(paths):
                _move(path, place / f"{number}-{path.name}")
        except OSError as error:
            self._back_out(entry)
            raise StoreError(
                f"{title} can't be deleted: {reason(error)}.",
                "Close other programs that use it and try again.",
            ) from error
        return token

    def restore(
        self, token: str, kinds: Sequence[str], choose: Callable[[Path], Path] = lambda path: path
    ) -> list[Path]:
        """Put a deletion's files back; returns their places, which `choose` may change if one is taken."""
        entry = self._entry(token)
        if entry is None or entry.kind not in kinds:
            raise StoreError("There is nothing to undo.", "It may have been undone already; reload the page.")
        with disk_errors(entry.title, "put back", "It is still in the trash."):
            return self._put_back(entry, choose)

    def entries(self, kinds: Sequence[str]) -> list[Deleted]:
        """Deletions that can be undone, newest first."""
        if not self._folder.is_dir():
            return []
        found = (self._entry(path.name) for path in self._folder.iterdir())
        return sorted(
            (entry for entry in found if entry and entry.kind in kinds), key=lambda entry: -entry.at
        )

    def purge(self, token: str) -> None:
        """Delete for good. Raises StoreError, NotAllowed."""
        if self._entry(token) is None:
            raise StoreError("It is not in the trash.", "It may be gone already; reload the page.")
        visitor().must_own(Kind.DELETED, token)
        leaving = self._folder / f"{token}{LEAVING}"
        with disk_errors("What was deleted", "removed", "It is still in the trash."):
            (self._folder / token).rename(leaving)
        for folder in self._folder.glob(f"*{LEAVING}"):  # those of a process that was killed too
            shutil.rmtree(folder, ignore_errors=True)
        visitor().forgets(Kind.DELETED, token)

    def _put_back(self, entry: Deleted, choose: Callable[[Path], Path] = lambda path: path) -> list[Path]:
        place, restored = self._folder / entry.token, []
        for number, path in enumerate(map(Path, entry.paths)):
            kept = place / f"{number}-{path.name}"
            if not kept.exists():
                restored.append(path)
                continue
            target = choose(path)
            if target.exists():
                raise StoreError(f"{target.name} is there again.", "Rename or delete that one first.")
            target.parent.mkdir(parents=True, exist_ok=True)
            _move(kept, target)
            restored.append(target)
        (place / NOTE).unlink(missing_ok=True)
        if place.is_dir():
            place.rmdir()
        return restored

    def _back_out(self, entry: Deleted) -> None:
        place = self._folder / entry.token
        with contextlib.suppress(OSError):
            for number, path in enumerate(map(Path, entry.paths)):
                kept = place / f"{number}-{path.name}"
                if kept.exists() and not path.exists():
                    _move(kept, path)
            if {found.name for found in place.iterdir()} <= {NOTE}:
                shutil.rmtree(place)

    def _entry(self, token: str) -> Deleted | None:
        if not TOKEN.fullmatch(token):
            return None
        if not visitor().owns(Kind.DELETED, token):
            return None
        try:
            data = json.loads((self._folder / token / NOTE).read_text("utf-8"))
            return Deleted(**{**data, "paths": tuple(data["paths"])})
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return None


def _move(source: Path, target: Path) -> None:
    """Rename; between two disks copy everything first, then remove the original."""
    try:
        source.rename(target)
        return
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    try:
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copy2(source, target)
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        if target.is_file():
            target.unlink()
        raise
    if source.is_dir():
        shutil.rmtree(source)
    else:
        source.unlink()
