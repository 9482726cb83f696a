"""Edits of a folder in any layout, written into the logs that are read for its pictures."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from lora_studio.data.edits.edit_log import FILE, EditLog
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


def log_heads(root: Path, folders: Iterable[Path]) -> dict[Path, str]:
    """The heads of the logs of pictures below `root`, by the log's folder. Raises DatasetError."""
    return {place: EditLog(place).read().head for place in {log_folder(folder, root) for folder in folders}}


def edit_folder(
    root: Path,
    edits: Sequence[Edit],
    why: str = "",
    *,
    after: Mapping[Path, str] | None = None,
    run: str = "",
) -> None:
    """Write edits, which name their pictures from `root` on, each into the log that holds for its picture;
    all of one log or none. `after` are the `log_heads` that the edits were chosen on; edits with the same
    `run`, and those of one call in any case, are undone together. Raises DatasetError, also where a picture
    is another one since."""
    by_log: dict[Path, list[Edit]] = {}
    for edit in edits:
        original = root / edit.picture
        place = log_folder(original.parent, root)
        named = replace(edit, picture=original.relative_to(place).as_posix())
        by_log.setdefault(place, []).append(named)
    run = run or (secrets.token_hex(4) if len(by_log) > 1 else "")
    for place, of_log in by_log.items():
        apply_edits(place, of_log, why, after=(after or {}).get(place, ""), run=run)


def undo_in_folder(root: Path, *, dry_run: bool = False) -> list[Edit]:
    """Take back the newest edits of the pictures of `root`, whichever logs they are in, or only look with
    `dry_run`; returns them. Raises DatasetError, also where they are edits of other folders as well."""
    folders = [path for path in root.iterdir() if path.is_dir()] if root.is_dir() else []
    places = {log_folder(folder, root) for folder in (root, *folders)}
    newest = {place: entry for place in sorted(places) if (entry := EditLog(place).read().undoable)}
    last = max(newest, key=lambda place: newest[place].time, default=root)
    run = newest[last].run if newest else ""
    undone = [place for place in newest if place == last or (run and newest[place].run == run)]
    for place in undone:
        edited = [place / edit.picture for edit in newest[place].edits]
        if place in root.parents and not all(path.is_relative_to(root) for path in edited):
            raise DatasetError(
                f"The last edits in {place.name}/{FILE} are not of {root.name} alone.",
                f"Take them back in {place.name}.",
                path=place,
            )
    if not undone:
        raise DatasetError("There is nothing to undo.", "The pictures are as they came.")
    if not dry_run:
        for place in undone:
            EditLog(place).undo(newest[place].id)
    return [edit for place in undone for edit in newest[place].edits]
