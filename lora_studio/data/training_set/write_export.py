"""An exported training set on the disk: a folder, or a ZIP of it, there only once it is whole."""

from __future__ import annotations

import os
import shutil
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path

from lora_studio.data.pixels.picture_metadata import without_metadata
from lora_studio.data.training_set.dataset_export import CONFIG, ExportedSet
from lora_studio.data.training_set.exported_pictures import PHASE, check_stop
from lora_studio.errors import DatasetError
from lora_studio.events import Emit, PhaseAdvanced, ShouldStop, ignore, never_stop
from lora_studio.files import check_room, creating, disk_errors, expanded
from lora_studio.parsing.plain_text import is_plain, plain_name

ExportedFiles = Iterator[tuple[str, Path | bytes]]
ZIP = ".zip"
ELSEWHERE = "Free some disk space, or choose another place."


def write_export(
    export: ExportedSet, target: Path, should_stop: ShouldStop = never_stop, emit: Emit = ignore
) -> Path:
    """Write an export into a new folder, or a ZIP where `target` ends in .zip; returns its whole path. Emits
    PhaseAdvanced. Raises DatasetError for one that is there already and when stopped, StoreError."""
    target = expanded(target).absolute()
    is_zip = target.suffix.lower() == ZIP
    with disk_errors("The pictures", "exported", ELSEWHERE):
        # Where a link leads is nobody's to replace.
        is_place = target.is_dir() and not target.is_symlink() and not is_zip and not any(target.iterdir())
        if os.path.lexists(target) and not is_place:
            raise DatasetError(f"{target} is there already.", "Choose a new folder.", path=target)
        if not is_zip and not is_plain(str(target)):
            raise DatasetError(
                f"A dataset.toml can't name the folder {plain_name(target)}, whose path is no UTF-8.",
                "Choose a folder with another name, or a ZIP.",
                path=target,
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        check_room(target.parent, "The export", export.bytes)
        files = _in_order(export, should_stop, emit)
        (_write_zip if is_zip else _write_folder)(export, files, target)
    return target


def _in_order(export: ExportedSet, should_stop: ShouldStop, emit: Emit) -> ExportedFiles:
    """The files with their contents, as far as nobody stops it."""
    pictures, files = export.pictures, len(export.files)
    for done, (name, content) in enumerate(export.files.items()):
        check_stop(should_stop)
        emit(PhaseAdvanced(phase=PHASE, done=pictures + pictures * done // files, total=2 * pictures))
        yield name, content
    emit(PhaseAdvanced(phase=PHASE, done=2 * pictures, total=2 * pictures))


def _write_folder(export: ExportedSet, files: ExportedFiles, folder: Path) -> None:
    unfinished = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}.part")
    try:
        for name, content in files:
            place = unfinished / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(
                content if isinstance(content, bytes) else without_metadata(content.read_bytes())
            )
        (unfinished / CONFIG).write_text(export.config(folder.as_posix()), encoding="utf-8")
        if folder.exists():
            folder.rmdir()
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _write_zip(export: ExportedSet, files: ExportedFiles, file: Path) -> None:
    # Not compressed: pictures are already.
    # A ZIP has no times before 1980, which reproducible copies have.
    with creating(file) as unfinished, zipfile.ZipFile(unfinished, "w", strict_timestamps=False) as archive:
        for name, content in files:
            if isinstance(content, bytes):
                archive.writestr(name, content)
            else:
                entry = zipfile.ZipInfo.from_file(content, name, strict_timestamps=False)
                archive.writestr(entry, without_metadata(content.read_bytes()))
        archive.writestr(CONFIG, export.config())
