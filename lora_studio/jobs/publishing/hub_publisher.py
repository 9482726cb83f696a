"""A LoRA put on the Hugging Face Hub, as a model of its own, private unless somebody wants otherwise.

The token is the machine's own (HF_TOKEN, or `hf auth login`): it is read by the Hub's library, and neither
kept nor shown here. So only admins publish.
"""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from lora_studio.access.roles import Role
from lora_studio.access.visitor import visitor
from lora_studio.downloads.hub_errors import hub_errors
from lora_studio.errors import ConfigError, StudioError
from lora_studio.events import Emit, PhaseAdvanced, ShouldStop, ignore, never_stop
from lora_studio.files import check_room, disk_errors
from lora_studio.gallery import Gallery
from lora_studio.jobs.action_locks import ActionLocks
from lora_studio.jobs.lora_files.lora_links import PREFIX
from lora_studio.jobs.publishing.published_files import PublishPlan, plan_files, write_files
from lora_studio.lora.card_fields import PUBLISHED
from lora_studio.lora.lora_folder import read_notes
from lora_studio.lora.model_card import HUB_ID
from lora_studio.parsing.plain_text import plain_text
from lora_studio.settings import Settings

if TYPE_CHECKING:
    from huggingface_hub import HfApi

TELL_EVERY = 1 << 20
"""Bytes between two events."""
LONGEST_NAME = 96
"""Characters of a model's name on the Hub."""


class _Stopped(Exception):
    """The upload was asked to stop."""


@dataclass
class _Progress:
    """The bytes of all files that have gone up."""

    total: int
    emit: Emit
    should_stop: ShouldStop
    done: int = 0
    reported: int = 0

    def add(self, count: int, name: str) -> None:
        if self.should_stop():
            raise _Stopped
        self.done += count
        if self.done - self.reported >= TELL_EVERY or self.done >= self.total:
            self.reported = self.done
            self.emit(
                PhaseAdvanced(phase="upload", done=min(self.done, self.total), total=self.total, note=name)
            )


class _WatchedFile(io.BufferedIOBase):
    """A file that the Hub's library reads: it tells how far it is, and ends where a stop is asked for. The
    library reads it once for its hash before it goes up, which `sending` leaves out."""

    def __init__(self, file: BinaryIO, name: str, progress: _Progress) -> None:
        self._file, self._name, self._progress = file, name, progress
        self.sending = False

    def read(self, size: int | None = -1, /) -> bytes:
        data = self._file.read(-1 if size is None else size)
        self._progress.add(len(data) if self.sending else 0, self._name)
        return data

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


@dataclass(frozen=True)
class HubPublisher:
    """The way from a LoRA of the library to a model on the Hub."""

    settings: Settings
    gallery: Gallery
    turns: ActionLocks = field(repr=False)

    def plan(self, slug: str) -> PublishPlan:
        """The files that would go up. Raises StoreError, ModelFileError, NotAllowed."""
        visitor().needs(Role.ADMIN)
        with disk_errors("The LoRA", "read"):
            return plan_files(self.gallery.lora(slug))

    def publish(
        self,
        slug: str,
        name: str,
        *,
        private: bool = True,
        emit: Emit = ignore,
        should_stop: ShouldStop = never_stop,
    ) -> str:
        """Put a LoRA on the Hub under `name` (`owner/name`; without an owner, that of the token) and return
        the address of its page; empty when stopped. A new version goes to where this LoRA was put before; a
        name that is another model's is refused. What fails or is stopped leaves no new model behind, or says
        that the Hub kept it. Emits PhaseAdvanced in bytes. Raises StudioError; NotAllowed, DeviceBusy."""
        visitor().needs(Role.ADMIN)
        record = self.gallery.lora(slug)
        wanted = given_name(name or slug)
        with self.turns.take("publish"):
            size_bytes = Path(record.path).stat().st_size
            check_room(self.settings.uploads, "The copy", size_bytes, self.settings)
            folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=self.settings.uploads))
            try:
                with disk_errors("The copy", "written"):
                    files = write_files(record, folder)
                upload = _Upload(folder, files, emit, should_stop)
                address, model = self._send(record.slug, wanted, private, upload)
            except _Stopped:
                return ""
            finally:
                shutil.rmtree(folder, ignore_errors=True)
        if address:
            self.gallery.say_of_lora(slug, "page", {PUBLISHED: model})
        return address

    def _send(self, slug: str, name: str, private: bool, upload: _Upload) -> tuple[str, str]:
        from huggingface_hub import HfApi

        api = HfApi()
        with hub_errors(name, "model"):
            owner = str(api.whoami()["name"])
        model = name if "/" in name else f"{owner}/{name}"
        folder = Path(self.gallery.lora(slug).path).parent
        is_there = read_notes(folder).get(PUBLISHED) == model
        with hub_errors(model, "model"):
            is_new = not (is_there and api.repo_exists(model))
            if upload.should_stop():
                return "", model
            if is_new:
                api.create_repo(model, private=private, exist_ok=False)
        with _taking_back(api, model) if is_new else nullcontext(), hub_errors(model, "model"):
            try:
                upload.send(api, model)
            except Exception as error:
                if upload.should_stop():
                    raise _Stopped from error
                if isinstance(error, RuntimeError | ValueError) and error.__cause__ is not None:
                    raise error.__cause__ from error  # the library's "Error while uploading"
                raise
        return f"{api.endpoint}/{model}", model


@contextmanager
def _taking_back(api: HfApi, model: str) -> Iterator[None]:
    """Delete a model of the Hub when the block fails: nobody has it yet, and what is in it is half. Raises
    StudioError that says so where it can't be deleted."""
    try:
        yield
    except BaseException as error:
        try:
            api.delete_repo(model, missing_ok=True)
        except Exception:
            left = f"A model without its files is left on the Hub: {model}. Delete it there, in its settings."
            if isinstance(error, _Stopped):
                raise StudioError("Stopped.", left) from error
            if isinstance(error, StudioError):
                raise StudioError(error.message, f"{error.hint} {left}") from error
            error.add_note(left)  # a bug: the log tells of both
        raise


@dataclass(frozen=True)
class _Upload:
    """One upload of some files below a folder."""

    folder: Path
    files: Sequence[Path]
    emit: Emit
    should_stop: ShouldStop

    def send(self, api: HfApi, model: str) -> None:
        """Send the files one after the other, then make them one commit. Raises the library's errors."""
        from huggingface_hub import CommitOperationAdd

        total = sum(path.stat().st_size for path in self.files)
        progress = _Progress(total, self.emit, self.should_stop)
        operations: list[Any] = []
        with ExitStack() as opened:
            for path in self.files:
                name = path.relative_to(self.folder).as_posix()
                watched: Any = _WatchedFile(opened.enter_context(path.open("rb")), name, progress)
                operation = CommitOperationAdd(path_in_repo=name, path_or_fileobj=watched)
                watched.sending = True
                api.preupload_lfs_files(model, additions=[operation])  # small texts go with the commit itself
                operations.append(operation)
            if self.should_stop():
                raise _Stopped
            api.create_commit(model, operations=operations, commit_message="Published with LoRA Studio")


def given_name(given: str) -> str:
    """The name of a model that somebody types, with or without its owner. Raises ConfigError."""
    name = given.strip()
    if not HUB_ID.fullmatch(name if "/" in name else f"x/{name}") or len(name.split("/")[-1]) > LONGEST_NAME:
        raise ConfigError(
            f"{plain_text(name, 60)!r} can't be the name of a model on the Hub.",
            "Use letters, digits, - and _, as in my-name/my-lora.",
            field="name",
        )
    return name
