"""Sets of pictures: made from uploads, captioned, deleted with undo.

A set is a folder of its own below the home's `datasets`: clean pictures, captions beside them, and
`dataset.json` with its record, from which a lost database row is made again.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from lora_studio.access.roles import Role
from lora_studio.access.visitor import Kind, visitor
from lora_studio.data.ingestion.ingest import few_remark, ingest
from lora_studio.data.pixels.masks import ENDING, is_mask
from lora_studio.data.training_set.export_folder import export_folder
from lora_studio.errors import DatasetError, StoreError
from lora_studio.events import Emit, ShouldStop, ignore, never_stop
from lora_studio.files import check_room, disk_errors, write_atomically
from lora_studio.lora.names import given_title
from lora_studio.parsing.file_names import portable_name
from lora_studio.parsing.text_encodings import readings
from lora_studio.records import DatasetRecord
from lora_studio.settings import Settings
from lora_studio.store.database import Database
from lora_studio.store.job_store import JobStore
from lora_studio.store.library import Library
from lora_studio.store.trash import Deleted, Trash

logger = logging.getLogger(__name__)

RECORD = "dataset.json"
UNFINISHED = ".part"
STALE_SECONDS = 24 * 3600
LONGEST_CAPTION = 10_000
MOST_SETS = 1000
ABOUT_ONE = re.compile(r"1 picture \(([^,)]{1,200})")
"""A warning about a single picture, whose name it gives."""


class Datasets:
    """The sets of pictures of this home. Raises DatasetError for faults in pictures, StoreError for sets that
    do not exist."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._folder, self._settings = settings.datasets, settings
        self._library, self._jobs = Library(database), JobStore(database)
        self._trash = Trash(settings.trash)

    def create(
        self, name: str, files: Sequence[Path], emit: Emit = ignore, should_stop: ShouldStop = never_stop
    ) -> DatasetRecord:
        """Make a set from pictures, ZIP archives and captions (.txt, .caption). The originals are only read.
        Unusable files are named in the record's `refused`; DatasetError when no picture is left, or when
        stopped, and then nothing is kept."""
        with visitor().room(_bytes_of(files)):
            with (
                self.passing(files, name, emit, should_stop) as passing,
                disk_errors("The pictures", "stored"),
            ):
                record = self._here(passing)
                _write_record(Path(passing.path), record)
                Path(passing.path).rename(record.path)
            self._library.put_dataset(record)
            visitor().claims(Kind.DATASET, record.id)
        return record

    @contextlib.contextmanager
    def passing(
        self,
        files: Sequence[Path],
        name: str = "",
        emit: Emit = ignore,
        should_stop: ShouldStop = never_stop,
    ) -> Iterator[DatasetRecord]:
        """A set as `create` makes it, but only for the time of the block and in no list. Raises as `create`
        does."""
        visitor().needs(Role.TRAINER)
        title = given_title(name) if name.strip() else "Pictures"
        self._sweep()
        self._check_limits(files)
        dataset_id = uuid.uuid4().hex[:12]
        folder = self._folder / f"{dataset_id}{UNFINISHED}"
        try:
            with disk_errors("The pictures", "stored"):
                folder.mkdir(parents=True)
                made = ingest(files, folder, emit, should_stop)
            yield DatasetRecord(
                id=dataset_id,
                name=title,
                path=str(folder),
                images=made.images,
                captions=made.captions,
                created_at=time.time(),
                refused=made.refused,
                warnings=made.warnings,
                transparent=made.transparent,
            )
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def add(
        self,
        dataset_id: str,
        files: Sequence[Path],
        emit: Emit = ignore,
        should_stop: ShouldStop = never_stop,
    ) -> DatasetRecord:
        """Take more pictures, archives and captions into a set: all of it is read anew, so that captions find
        their pictures and double ones are named. Pictures that a training was given stay as they are, and a
        new set has them and the others. Raises as `create` does; the set is unchanged then."""
        record = self._owned(dataset_id)
        present = sorted(path for path in Path(record.path).rglob("*") if path.suffix in {".png", ".txt"})
        every = [*present, *files]
        with visitor().room(_bytes_of(every)):
            with (
                self.passing(every, record.name, emit, should_stop) as passing,
                disk_errors("The pictures", "stored"),
            ):
                is_used = self._jobs.is_given(record.path)
                transparent = {*record.transparent, *passing.transparent}
                there = {path.name for path in Path(passing.path).rglob("*.png")}
                made = replace(
                    self._here(passing if is_used else replace(passing, id=record.id)),
                    transparent=tuple(sorted(transparent & there)),
                )
                _write_record(Path(passing.path), made)
                replaced = self._folder / f"{uuid.uuid4().hex[:12]}{UNFINISHED}"
                if not is_used:
                    Path(record.path).rename(replaced)
                Path(passing.path).rename(made.path)
                shutil.rmtree(replaced, ignore_errors=True)
            self._library.put_dataset(made)
            visitor().claims(Kind.DATASET, made.id, new=is_used)
        return made

    def remove_picture(self, dataset_id: str, file: str) -> tuple[DatasetRecord, str]:
        """Move a picture with its caption and mask to the trash; returns the set and the token for
        `put_back`. Of pictures that a training was given, a new set has the others. Raises DatasetError for
        the only picture of a set."""
        record = self._owned(dataset_id)
        names = [path.name for path, _ in self.pictures(dataset_id)]
        if file not in names:
            raise DatasetError("That picture is not in this set.", "Reload the page.")
        if len(names) == 1:
            raise DatasetError("That is the only picture of this set.", "Add another one first.")
        with disk_errors(file, "removed"):
            if self._jobs.is_given(record.path):
                record = self._copy(record)
        picture = next(path for path, _ in self.pictures(record.id) if path.name == file)
        beside = (picture.with_suffix(".txt"), picture.with_name(f"{picture.stem}{ENDING}.png"))
        token = self._trash.put("picture", file, [picture, *(path for path in beside if path.is_file())])
        visitor().claims(Kind.DELETED, token)
        return self._counted(record, without=picture.stem), token

    def put_back(self, token: str) -> DatasetRecord:
        """Bring a removed picture back into its set; returns the set. Raises StoreError when that is gone."""
        entry = next((one for one in self._trash.entries(("picture",)) if one.token == token), None)
        if entry is not None:
            self._owned(Path(entry.paths[0]).relative_to(self._folder).parts[0])
        paths = self._trash.restore(token, ("picture",))
        return self._counted(self._owned(paths[0].relative_to(self._folder).parts[0]))

    def _owned(self, dataset_id: str) -> DatasetRecord:
        visitor().must_own(Kind.DATASET, dataset_id)
        return self.get(dataset_id)

    def _copy(self, record: DatasetRecord) -> DatasetRecord:
        """A set with the same pictures under a new id."""
        visitor().needs(Role.TRAINER)
        files = [path for path in Path(record.path).rglob("*") if path.is_file()]
        self._check_limits(files)
        with visitor().room(_bytes_of(files)):
            made = self._here(replace(record, id=uuid.uuid4().hex[:12], created_at=time.time()))
            part = Path(f"{made.path}{UNFINISHED}")
            try:
                shutil.copytree(record.path, part)
                _write_record(part, made)
                part.rename(made.path)
            finally:
                shutil.rmtree(part, ignore_errors=True)
            self._library.put_dataset(made)
            visitor().claims(Kind.DATASET, made.id)
        return made

    def _counted(self, record: DatasetRecord, *, without: str = "") -> DatasetRecord:
        """The record, stored with the numbers of pictures and captions that are there, and without warnings
        about the one picture of the name `without`."""
        captions = [caption for _, caption in self.pictures(record.id)]
        stale = {*few_remark(record.images), *(one for one in record.warnings if _is_about(one, without))}
        warnings = [one for one in record.warnings if one not in stale] + few_remark(len(captions))
        counted = replace(
            record, images=len(captions), captions=sum(map(bool, captions)), warnings=tuple(warnings)
        )
        with disk_errors("The pictures", "stored"):
            _write_record(Path(record.path), counted)
        self._library.put_dataset(counted)
        return counted

    def _check_limits(self, files: Sequence[Path]) -> None:
        """Refuse files that there is no place for. Raises StoreError when too many sets are kept,
        DiskFull."""
        kept = len(self._library.dataset_ids())
        if kept >= MOST_SETS:
            raise StoreError(f"{kept} sets of pictures are kept already.", "Delete some that you don't need.")
        check_room(self._folder, "These pictures", _bytes_of(files), self._settings)

    def get(self, dataset_id: str) -> DatasetRecord:
        return self._here(self._library.dataset(dataset_id))

    def datasets(self) -> list[DatasetRecord]:
        """All sets, newest first."""
        return [self._here(record) for record in self._library.datasets()]

    def pictures(self, dataset_id: str) -> list[tuple[Path, str]]:
        """Each picture with its caption (empty if none), in order. File names are unique within a set."""
        folder = Path(self.get(dataset_id).path)
        if not folder.is_dir():
            raise DatasetError(
                "The folder of this set of pictures is gone.", "Upload the pictures again.", path=folder
            )
        paths = sorted(path for path in folder.rglob("*.png") if path.is_file() and not is_mask(path.stem))
        return [(path, _caption(path)) for path in paths]

    def set_caption(self, dataset_id: str, file: str, text: str) -> None:
        """Write the caption of the picture with this file name; an empty text removes it."""
        path = next((path for path, _ in self.pictures(dataset_id) if path.name == file), None)
        if path is None:
            raise DatasetError("That picture is not in this set.", "Reload the page.")
        visitor().must_own(Kind.DATASET, dataset_id)
        text = " ".join(text.replace("\0", " ").split())[:LONGEST_CAPTION]
        with disk_errors(f"The caption of {file}", "saved"):
            if text:
                write_atomically(path.with_suffix(".txt"), f"{text}\n")
            else:
                path.with_suffix(".txt").unlink(missing_ok=True)
            captions = sum(bool(caption) for _, caption in self.pictures(dataset_id))
            record = replace(self.get(dataset_id), captions=captions)
            _write_record(Path(record.path), record)
        self._library.put_dataset(record)

    def export(
        self,
        dataset_id: str,
        folder: Path,
        *,
        repeats: int = 10,
        class_tokens: str = "",
        trigger_word: str = "",
    ) -> Path:
        """Copy a set into a new folder in Kohya's layout: `<repeats>_<class>/` with pictures and .txt
        captions; sub-folders that have such a name keep it. `class_tokens` (empty: the set's name) are the
        caption of pictures without one; `trigger_word` is put in front of both. Returns the folder for
        train_data_dir. DatasetError if it is there and not empty."""
        record = self.get(dataset_id)
        pictures = self.pictures(dataset_id)
        words = f"{trigger_word} {class_tokens or record.name}".strip()
        with disk_errors("The pictures", "exported"):
            return export_folder(
                pictures,
                folder,
                root=Path(record.path),
                subfolder=f"{repeats}_{words}",
                trigger_word=trigger_word,
            )

    def delete(self, dataset_id: str) -> str:
        """Move a set to the trash; returns the token for `undo`. StoreError while a training needs it."""
        record = self.get(dataset_id)
        visitor().must_own(Kind.DATASET, dataset_id)
        for job in self._jobs.active():
            if Path(job.config["dataset"]["train_data_dir"]) == Path(record.path):
                name = repr(job.name) if visitor().sees(Kind.JOB, job.id) else "of somebody else"
                raise StoreError(
                    f"The training {name} needs these pictures.", "Stop it or wait until it is done."
                )
        token = self._trash.put("dataset", record.name, [Path(record.path)])
        self._library.remove_dataset(dataset_id)
        visitor().claims(Kind.DELETED, token)
        return token

    def undo(self, token: str) -> None:
        """Bring a deleted set back."""
        for path in self._trash.restore(token, ("dataset",)):
            visitor().claims(Kind.DATASET, path.name, new=False)
        self.scan()

    def deleted(self) -> list[Deleted]:
        """Deletions that `undo` can bring back, newest first."""
        return self._trash.entries(("dataset",))

    def scan(self) -> None:
        """Make the rows equal the folders."""
        listed = set(self._library.dataset_ids())
        found = {
            path.parent.name: path
            for path in self._folder.glob(f"*/{RECORD}")
            if path.parent.suffix != UNFINISHED
        }
        for dataset_id in found.keys() - listed:
            try:
                data = json.loads(found[dataset_id].read_text("utf-8"))
                listing = {name: tuple(data.get(name, ())) for name in ("refused", "warnings", "transparent")}
                data |= {"id": dataset_id, **listing}
                self._library.put_dataset(DatasetRecord(**data))
            except (OSError, ValueError, TypeError, KeyError, RecursionError):
                logger.warning("the set of pictures %s has no readable %s", dataset_id, RECORD)
        for dataset_id in listed - found.keys():
            self._library.remove_dataset(dataset_id)

    def _here(self, record: DatasetRecord) -> DatasetRecord:
        """The record with its folder below this home, wherever the home was when it was made."""
        return replace(record, path=str(self._folder / record.id))

    def _sweep(self) -> None:
        """Remove remains of uploads that were cut short."""
        for path in self._folder.glob(f"*{UNFINISHED}"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > STALE_SECONDS:
                    shutil.rmtree(path, ignore_errors=True)


def _bytes_of(files: Sequence[Path]) -> int:
    wanted = 0
    for file in files:
        with contextlib.suppress(OSError):
            wanted += file.stat().st_size
    return wanted


def _is_about(warning: str, stem: str) -> bool:
    """Whether a warning is about one picture alone, which is kept under the name `stem`."""
    found = ABOUT_ONE.match(warning) if stem else None
    return found is not None and portable_name(Path(found[1]).stem, "picture") == stem


def _caption(picture: Path) -> str:
    try:
        found = readings(picture.with_suffix(".txt").read_bytes())
    except FileNotFoundError:
        return ""
    except OSError as error:
        logger.warning("caption of %s: %s", picture.name, error)
        return ""
    return found[0].text.strip() if found else ""


def _write_record(folder: Path, record: DatasetRecord) -> None:
    write_atomically(folder / RECORD, json.dumps(asdict(record), indent=2, ensure_ascii=False) + "\n")
