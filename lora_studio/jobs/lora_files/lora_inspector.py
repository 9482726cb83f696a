"""LoRA files looked into, alone or on a base model; repaired and merged ones, which come into the library."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_studio.access.quotas import Use
from lora_studio.access.roles import Role
from lora_studio.access.visitor import Kind, visitor
from lora_studio.errors import ConfigError, DeviceBusy, FamilyMismatch, ModelFileError
from lora_studio.events import Emit, ShouldStop
from lora_studio.families.base_files.locate import find_base
from lora_studio.files import check_room, copy_atomically, disk_errors
from lora_studio.gallery import Gallery
from lora_studio.jobs.action_locks import ActionLocks
from lora_studio.jobs.lora_files.lora_links import PREFIX, remove_left_behind
from lora_studio.jobs.lora_files.repair_jobs import NewLora, RepairJob, RepairJobs
from lora_studio.lora.file.lora_files import LONGEST_TITLE, find_file
from lora_studio.lora.names import given_title
from lora_studio.lora.repair.repair_request import MOST_MERGE_RATIO, RepairRequest, check_merged
from lora_studio.parsing.numbers import read_decimal
from lora_studio.parsing.slugs import slug_from
from lora_studio.settings import Settings

if TYPE_CHECKING:
    from lora_studio.lora.inspection.lora_report import LoraReport

Write = Callable[[Path, Emit, ShouldStop], list[str] | None]
"""Writes a new file; sentences on what was left out, None when it was stopped."""


@dataclass(frozen=True)
class LoraInspector:
    """Answers on LoRA files, and new ones made of old ones, for page and API. One is worked on at a time."""

    settings: Settings
    gallery: Gallery
    turns: ActionLocks
    jobs: RepairJobs = field(default_factory=RepairJobs, repr=False)

    def inspect(self, slug: str, base: str = "") -> LoraReport:
        """Report on a LoRA of the library. Raises StoreError, ModelFileError, DeviceBusy."""
        return self.inspect_file(self._file_of(slug), base)

    def inspect_file(self, path: Path, base: str = "") -> LoraReport:
        """Report on a file; with `base`, also measured on that base, by those who may draw. Raises
        BrokenFile, UnknownFormat, FamilyMismatch, ModelFileError, DeviceBusy, NotAllowed."""
        if base:
            visitor().needs(Role.CREATOR)
        with self.turns.take("inspect"):
            return inspect_on(path, base, self.settings)

    def repair(self, slug: str, request: RepairRequest, title: str = "", *, session: str = "") -> RepairJob:
        """Begin a repaired copy of a LoRA, which comes into the library. Raises StoreError, ConfigError;
        NotAllowed, QuotaReached."""
        from lora_studio.lora.repair.repaired_file import repair_file

        visitor().needs(Role.CREATOR)
        record, file = self.gallery.lora(slug), self._file_of(slug)
        name = title or f"{record.title[: LONGEST_TITLE - 10]}, repaired"
        given = given_title(name)
        return self._begun(
            name, lambda target, emit, stop: repair_file(file, request, target, given, emit, stop), session
        )

    def export(self, slug: str, request: RepairRequest) -> tuple[Path, list[str]]:
        """Write a copy of a LoRA in another spelling or number format among the uploads, which are cleared by
        themselves; it is the visitor's, and the library stays as it is. Without a change it is the file as it
        is. Returns it with sentences on what was left out. Raises StudioError; NotAllowed, DeviceBusy."""
        from lora_studio.lora.repair.repaired_file import repair_file

        visitor().needs(Role.CREATOR)
        file, uploads = self._file_of(slug), self.settings.uploads
        with self.turns.take("repair"), disk_errors("The file", "written"):
            check_room(uploads, file.name, file.stat().st_size, self.settings)
            folder = uploads / secrets.token_hex(20)
            folder.mkdir(parents=True)
            target = folder / exported_name(slug, request)
            try:
                notes: list[str] = []
                if request == RepairRequest():
                    copy_atomically(file, target)
                else:
                    notes = repair_file(file, request, target) or []
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
        visitor().claims(Kind.UPLOAD, f"{folder.name}/{target.name}")
        return target, notes

    def merge(
        self,
        loras: Sequence[tuple[str, float]],
        request: RepairRequest,
        title: str = "",
        *,
        session: str = "",
    ) -> RepairJob:
        """Begin one LoRA that does what several do together, each times its ratio, which comes into the
        library. Raises StoreError, ConfigError; NotAllowed, QuotaReached."""
        from lora_studio.lora.repair.repaired_file import merge_files

        visitor().needs(Role.CREATOR)
        check_merged(len(loras))
        records = [self.gallery.lora(slug) for slug, _ in loras]
        files = [(self._file_of(slug), ratio) for slug, ratio in loras]
        name = title or " + ".join(record.title for record in records)[:LONGEST_TITLE]
        given = given_title(name)
        return self._begun(
            name, lambda target, emit, stop: merge_files(files, request, target, given, emit, stop), session
        )

    def result_of(self, job: RepairJob) -> NewLora | None:
        """Wait for a repair or a merge; None when it was stopped. Raises StudioError."""
        ended = self.jobs.wait(job.id)
        if ended.error is not None:
            raise ended.error
        return (ended.lora, list(ended.notes)) if ended.lora is not None else None

    def named(self, text: str) -> list[tuple[str, float]]:
        """The slugs and ratios of LoRAs that a person lists as `ink: 0.7, My cat: 0.5`, to be merged with one
        that is known; without a ratio it is 1. Raises StoreError, ConfigError."""
        found = []
        listed = text.split(",")
        check_merged(1 + len(listed))  # before the first is looked up in the library
        for one in listed:
            name, colon, ratio = one.rpartition(":")
            wanted = (name if colon else one).strip()
            if not wanted:
                raise ConfigError(
                    "merge: a name is missing.", "Write them as ink: 0.7, cat: 0.5.", field="merge"
                )
            number = (
                read_decimal(ratio, "merge", least=-MOST_MERGE_RATIO, most=MOST_MERGE_RATIO) if colon else 1.0
            )
            found.append((self.gallery.find_lora(wanted).slug, number))
        return found

    def _begun(self, title: str, write: Write, session: str) -> RepairJob:
        visitor().within(Use.DISK)
        return self.jobs.start(
            title, lambda emit, should_stop: self._taken_in(title, write, emit, should_stop), session=session
        )

    def _taken_in(self, title: str, write: Write, emit: Emit, should_stop: ShouldStop) -> NewLora | None:
        try:
            with self.turns.take("repair", should_stop=should_stop):
                return self._made(title, write, emit, should_stop)
        except DeviceBusy:
            if should_stop():
                return None
            raise

    def _made(self, title: str, write: Write, emit: Emit, should_stop: ShouldStop) -> NewLora | None:
        with disk_errors("The file", "written"):
            self.settings.uploads.mkdir(parents=True, exist_ok=True)
            remove_left_behind(self.settings.uploads)
            folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=self.settings.uploads))
        try:
            notes = write(folder / "new.safetensors", emit, should_stop)
            if notes is None:
                return None
            path = (folder / "new.safetensors").rename(folder / f"{slug_from(title) or 'lora'}.safetensors")
            with self.turns.take("import", gives_up=False):
                return self.gallery.import_lora(path, anew=True), notes
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _file_of(self, slug: str) -> Path:
        path = Path(self.gallery.lora(slug).path)
        return path if path.is_file() else find_file(path)


def exported_name(slug: str, request: RepairRequest) -> str:
    """The file's name: the slug, and what is different about the copy."""
    parts = [slug, request.spelling, request.save_precision]
    return f"{'-'.join(part for part in parts if part)}.safetensors"


def inspect_on(path: Path, base: str, settings: Settings) -> LoraReport:
    """Report on a file; with `base`, also measured on that base. Raises BrokenFile, UnknownFormat,
    FamilyMismatch, ModelFileError."""
    from lora_studio.lora.inspection.file_report import ABOUT_BASES, inspect_file

    report = inspect_file(path)
    if not base:
        return report
    from lora_studio.lora.inspection.rounding import measure_on_base

    measured = measure_on_base(path, _layers_of(base, settings), base)
    if not measured.layers:
        made_for = f" It was made for {report.family_title}." if report.family_title else ""
        raise FamilyMismatch(
            f"{report.name} has no layer that fits the base model “{base}”.{made_for}",
            "Name the base it was made for, or none.",
            path=path,
        )
    notes = tuple(note for note in report.notes if note not in ABOUT_BASES)
    return replace(report, on_base=measured, notes=notes)


def _layers_of(base: str, settings: Settings) -> dict[str, Any]:
    from lora_studio.families import family_of
    from lora_studio.generation.lora_lookup import layers_of

    found = find_base(base, settings)
    if found.layout == "hub":
        raise ModelFileError(
            f"The base model “{base}” isn't on this machine.", "Draw one picture with it, which fetches it."
        )
    return layers_of(family_of(found).load().models())
