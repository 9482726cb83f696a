"""Edits of a folder in any layout, written into the logs that are read for its pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lora_studio.data.edits.edit_log import FILE, EditEntry, EditLog
from lora_studio.data.edits.overlay import apply_edits, is_edited
from lora_studio.data.edits.picture_edits import Edit
from lora_studio.data.training_set.subsets import KOHYA_FOLDER
from lora_studio.errors import DatasetError


def log_folder(folder: Path, root: Path | None = None) -> Path:
    """The folder whose log holds for the pictures directly in `folder`: the one above a `<repeats>_<class>`
    folder that has no log of its own, if that one has one or is the `root` that is worked on."""
    if is_edited(folder) or not KOHYA_FOLDER.fullmatch(folder.name):
        return folder
    return folder.parent if folder.parent == root or is_edited(folder.parent) else folder


def edit_folder(root: Path, edits: Sequence[Edit], why: str = "") -> None:
    """Write edits, which name their pictures from `root` on, each into the log that holds for its picture;
    all of one log or none. Raises DatasetError."""
    by_log: dict[Path, list[Edit]] = {}
    for edit in edits:
        original = root / edit.picture
        place = log_folder(original.parent, root)
        named = replace(edit, picture=original.relative_to(place).as_posix())
        by_log.setdefault(place, []).append(named)
    for place, of_log in by_log.items():
        apply_edits(place, of_log, why)


def undo_in_folder(root: Path) -> EditEntry:
    """Take back the newest edits of the pictures of `root`, whichever log they are in; returns them. Raises
    DatasetError, also where they are edits of other folders as well."""
    folders = [path for path in root.iterdir() if path.is_dir()] if root.is_dir() else []
    places = {log_folder(folder, root) for folder in (root, *folders)}
    newest = {place: entry for place in sorted(places) if (entry := EditLog(place).read().undoable)}
    place = max(newest, key=lambda place: newest[place].time, default=root)
    if place in root.parents and not all(
        (place / edit.picture).is_relative_to(root) for edit in newest[place].edits
    ):
        raise DatasetError(
            f"The last edits in {place.name}/{FILE} are not of {root.name} alone.",
            f"Take them back in {place.name}.",
            path=place,
        )
    return EditLog(place).undo()
