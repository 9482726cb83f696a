"""Sets of pictures: made from uploads, captioned, deleted with undo.

A set is a folder of its own below the home's `datasets`: clean pictures, captions beside them, `dataset.json`
with its record, from which a lost database row is made again, and `edits.jsonl` with what was changed since.
"""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from itertools import takewhile
from pathlib import Path

from lora_studio.access.roles import Role
from lora_studio.access.visitor import Kind, visitor
from lora_studio.config_groups import DatasetGroup
from lora_studio.data.edits.edit_log import WRITING, EditHistory, EditLog
from lora_studio.data.edits.overlay import Overlay, apply_edits, overlaid
from lora_studio.data.edits.picture_edits import LONGEST_CAPTION, Edit, SetCaption
from lora_studio.data.edits.rendering import PictureFiles
from lora_studio.data.ingestion.ingest import few_remark, ingest, is_about
from lora_studio.data.ingestion.set_files import caption_beside, originals_of, set_files
from lora_studio.data.pixels.masks import ENDING
from lora_studio.data.pixels.stray_files import EDITS
from lora_studio.data.training_set.dataset_export import ExportedSet, planned_export
from lora_studio.data.training_set.exported_pictures import check_stop
from lora_studio.data.training_set.run_subsets import has_subsets, options_of_set
from lora_studio.data.training_set.write_export import write_export
from lora_studio.errors import DatasetError, StoreError
from lora_studio.events import Emit, ShouldStop, ignore, never_stop
from lora_studio.files import bytes_of, check_room, disk_errors, write_atomically
from lora_studio.lora.names import given_title
from lora_studio.parsing.plain_text import plain_lines
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
MOST_SETS = 1000


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
        with visitor().room(bytes_of(files)):
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
        every = [*set_files(Path(record.path)), *files]
        with visitor().room(bytes_of(every)):
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
                before = {path.name: caption_beside(path) for path in originals_of(Path(record.path))}
                replaced = self._folder / f"{uuid.uuid4().hex[:12]}{UNFINISHED}"
                with WRITING:  # an edit that is made meanwhile goes into the set as it will be
                    if (log := Path(record.path) / EDITS).is_file():
                        shutil.copyfile(log, Path(passing.path) / EDITS)
                    if not is_used:
                        Path(record.path).rename(replaced)
                    Path(passing.path).rename(made.path)
                shutil.rmtree(replaced, ignore_errors=True)
            visitor().claims(Kind.DATASET, made.id, new=is_used)
        folder = Path(made.path)
        now = {path: caption_beside(path) for path in originals_of(folder)}
        if newer := overlaid(folder, self._settings.edited).newer_captions(before, now):
            apply_edits(folder, newer)
        return self._counted(made)

    def edit(
        self, dataset_id: str, edits: Sequence[Edit], why: str = "", *, after: str = "", run: str = ""
    ) -> DatasetRecord:
        """Change pictures and captions at once, by entry of the set's log; its files stay. `why` names the
        finding that is mended, `after` is the head of the history that was looked at, `run` marks edits that
        are undone together. Returns the set. Raises DatasetError when an edit doesn't fit, its picture is
        another one since, or none would be left."""
        record = self._owned(dataset_id)
        folder = Path(record.path)
        apply_edits(folder, edits, why, pictures=originals_of(folder), after=after, run=run)
        return self._counted(record)

    def edits(self, dataset_id: str) -> EditHistory:
        """The edits of a set: those that hold, those that can be redone, and the named versions."""
        return EditLog(Path(self.get(dataset_id).path)).read()

    def undo_edit(self, dataset_id: str, *, after: str = "") -> DatasetRecord:
        """Take back the last edits that hold; returns the set. Raises DatasetError when there are none, or
        other ones than `after` says (as for `edit`)."""
        return self._gone(dataset_id, lambda log: log.undo(after))

    def redo_edit(self, dataset_id: str, *, after: str = "") -> DatasetRecord:
        """Bring back what was undone last; returns the set. Raises DatasetError as `undo_edit` does."""
        return self._gone(dataset_id, lambda log: log.redo(after))

    def go_to_version(self, dataset_id: str, version: str, *, after: str = "") -> DatasetRecord:
        """Let a version hold: its name, an entry's id, or `originals`. Raises DatasetError as `undo_edit`."""
        return self._gone(dataset_id, lambda log: log.go_to(version, after))

    def name_version(self, dataset_id: str, name: str, *, after: str = "", moves: bool = True) -> None:
        """Name the edits that hold, to go back to them; a name of others moves, or is refused if not. Raises
        DatasetError as `undo_edit`."""
        EditLog(Path(self._owned(dataset_id).path)).name_version(name, after, moves=moves)

    def _gone(self, dataset_id: str, change: Callable[[EditLog], object]) -> DatasetRecord:
        record = self._owned(dataset_id)
        change(EditLog(Path(record.path)))
        return self._counted(record)

    def _owned(self, dataset_id: str) -> DatasetRecord:
        visitor().must_own(Kind.DATASET, dataset_id)
        return self.get(dataset_id)

    def _counted(self, record: DatasetRecord) -> DatasetRecord:
        """The record as the edits make it, stored: its numbers of pictures and captions, and its warnings
        without those about one picture that is left out."""
        came = _read_record(Path(record.path)) or record
        captions = self._captions(record)
        originals = {path.name for path in originals_of(Path(record.path))}
        removed = {Path(name).stem for name in originals - captions.keys()}
        stale = {*few_remark(came.images), *(one for one in came.warnings if is_about(one, removed))}
        counted = self._here(
            replace(
                came,
                id=record.id,
                images=len(captions),
                captions=sum(map(bool, captions.values())),
                warnings=(*(one for one in came.warnings if one not in stale), *few_remark(len(captions))),
            )
        )
        self._library.put_dataset(counted)
        return counted

    def captions(self, dataset_id: str) -> dict[str, str]:
        """Captions as edited, by the pictures' names; empty for pictures without one."""
        return self._captions(self.get(dataset_id))

    def _captions(self, record: DatasetRecord) -> dict[str, str]:
        overlay = overlaid(Path(record.path), self._settings.edited)
        found = {path: caption_beside(path) for path in originals_of(Path(record.path))}
        return {path.name: text for path, text in overlay.captions(found).items()}

    def _check_limits(self, files: Sequence[Path]) -> None:
        """Refuse files that there is no place for. Raises StoreError when too many sets are kept,
        DiskFull."""
        kept = len(self._library.dataset_ids())
        if kept >= MOST_SETS:
            raise StoreError(f"{kept} sets of pictures are kept already.", "Delete some that you don't need.")
        check_room(self._folder, "These pictures", bytes_of(files), self._settings)

    def get(self, dataset_id: str) -> DatasetRecord:
        return self._here(self._library.dataset(dataset_id))

    def datasets(self) -> list[DatasetRecord]:
        """All sets, newest first."""
        return [self._here(record) for record in self._library.datasets()]

    def pictures(
        self,
        dataset_id: str,
        limit: int | None = None,
        version: str = "",
        *,
        start: int = 0,
        first: Sequence[str] = (),
        should_stop: ShouldStop = never_stop,
    ) -> list[tuple[Path, str]]:
        """Each picture with its caption (empty if none) as edited, in order, those of the file names `first`
        before the others; from `start` on, and up to a `limit`. File names are unique within a set, an edited
        picture has the name of its original, and one whose edits can't be made is there as it came. `version`
        is that of a training; empty: the edits that hold. Stopped, it gives those that it has: each edited
        picture may have to be made."""
        folder = Path(self.get(dataset_id).path)
        if not folder.is_dir():
            raise DatasetError(
                "The folder of this set of pictures is gone.", "Upload the pictures again.", path=folder
            )
        overlay = overlaid(folder, self._settings.edited, version)
        captions = overlay.captions({path: caption_beside(path) for path in originals_of(folder)})
        ranks = {name: rank for rank, name in enumerate(first)}
        in_order = sorted(captions.items(), key=lambda one: ranks.get(one[0].name, len(ranks)))
        wanted = takewhile(lambda _: not should_stop(), in_order[start:limit])
        return [(_files(overlay, path).picture, text) for path, text in wanted]

    def set_caption(self, dataset_id: str, file: str, text: str) -> None:
        """Give the picture with this file name another caption, whose lines stay; an empty one takes it away.
        Raises DatasetError for one that is too long to be an edit."""
        captions = self.captions(dataset_id)
        if file not in captions:
            raise DatasetError("That picture is not in this set.", "Reload the page.")
        text = plain_lines(text).strip()
        if len(text) > LONGEST_CAPTION:
            hint = f"Write up to {LONGEST_CAPTION:,} here, or change the file and upload it again."
            raise DatasetError(f"The caption of {file} would have {len(text):,} characters.", hint)
        if text != plain_lines(captions[file]):
            self.edit(dataset_id, [SetCaption(file, text)])

    def export(
        self,
        dataset_id: str,
        target: Path,
        *,
        repeats: int = 1,
        class_tokens: str = "",
        trigger_word: str = "",
        should_stop: ShouldStop = never_stop,
        emit: Emit = ignore,
    ) -> ExportedSet:
        """Copy a set as edited into a new folder in Kohya's layout, or a ZIP where `target` ends in .zip:
        `<repeats>_<class>/` with pictures, captions and masks, and a dataset.toml. Sub-folders that have such
        a name keep it. `class_tokens` are the caption of pictures without one; `trigger_word` is put in front
        of both. Emits PhaseAdvanced. Returns what was written, with its notes. DatasetError if the target is
        there and not empty, and when stopped; QuotaReached."""
        record = self.get(dataset_id)
        of_set = options_of_set(record.path)
        given = {"train_data_dir": record.path, "num_repeats": repeats, "trigger_word": trigger_word}
        data = DatasetGroup.model_validate({**of_set, **given})
        self.pictures(record.id, should_stop=should_stop)  # edited ones are made here, where a stop is heard
        check_stop(should_stop)
        # What a dataset config leaves without words has none.
        words = class_tokens or ("" if has_subsets(record.path) else record.name)
        export = planned_export(data, words, should_stop, emit)
        with visitor().room(export.bytes):
            write_export(export, target, should_stop, emit)
        return export

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
        shutil.rmtree(self._settings.edited / record.id, ignore_errors=True)
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
            if record := _read_record(found[dataset_id].parent):
                self._counted(self._here(record))
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


def _files(overlay: Overlay, original: Path) -> PictureFiles:
    """The files of a picture as edited; those that came for one whose edits can't be made, which the log says
    by hand."""
    beside = original.with_name(f"{original.stem}{ENDING}.png")
    mask = beside if beside.is_file() else None
    try:
        return overlay.files(original, mask)
    except (DatasetError, StoreError) as error:
        logger.warning("the edits of %s: %s", original.name, error)
        return PictureFiles(original, mask)


def _read_record(folder: Path) -> DatasetRecord | None:
    """The record of a set as it came; None where it can't be read."""
    try:
        data = json.loads((folder / RECORD).read_text("utf-8"))
        listing = {name: tuple(data.get(name, ())) for name in ("refused", "warnings", "transparent")}
        return DatasetRecord(**{**data, "id": folder.name, **listing})
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        logger.warning("the set of pictures %s has no readable %s", folder.name, RECORD)
        return None


def _write_record(folder: Path, record: DatasetRecord) -> None:
    write_atomically(folder / RECORD, json.dumps(asdict(record), indent=2, ensure_ascii=False) + "\n")
