"""The edits of a folder laid over its pictures and captions, whose files stay as they are."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from lora_studio.data.edits.edit_log import FILE, EditEntry, EditHistory, EditLog
from lora_studio.data.edits.picture_edits import (
    CropPicture,
    Edit,
    PixelEdit,
    RemovePicture,
    RestorePicture,
    SetCaption,
    edit_dict,
    edit_of,
)
from lora_studio.data.edits.rendering import PictureFiles, check_crop, edited_size, rendered
from lora_studio.data.pixels.masks import is_mask
from lora_studio.data.pixels.picture_pixels import ENDINGS, HEIC_ENDINGS, upright_size
from lora_studio.errors import DatasetError

LEAST_SIDE = 32
"""Pixels of a side that a crop leaves, as of an upload."""


@dataclass(frozen=True, kw_only=True)
class PictureState:
    """The edits of one picture, taken together; a `caption` of None is the picture's own."""

    is_removed: bool = False
    caption: str | None = None
    pixels: tuple[PixelEdit, ...] = ()

    def after(self, edit: Edit) -> PictureState:
        if isinstance(edit, RemovePicture | RestorePicture):
            return replace(self, is_removed=isinstance(edit, RemovePicture))
        if isinstance(edit, SetCaption):
            return replace(self, caption=edit.caption)
        return replace(self, pixels=(*self.pixels, edit))


UNTOUCHED = PictureState()


class OverlaidPicture(NamedTuple):
    """A picture of a folder as edited."""

    original: Path
    files: PictureFiles
    caption: str


@dataclass(frozen=True, kw_only=True)
class Overlay:
    """The state of each edited picture, by its original's path. Edited pixels are kept in `cache`."""

    folder: Path
    cache: Path
    states: Mapping[Path, PictureState] = field(default_factory=dict)
    unread: int = 0

    def state(self, original: Path) -> PictureState:
        return self.states.get(original, UNTOUCHED)

    def captions(self, found: Mapping[Path, str]) -> dict[Path, str]:
        """Captions by picture, edited ones in their place, without pictures that are left out."""
        kept = {path: text for path, text in found.items() if not self.state(path).is_removed}
        edited = {path: self.state(path).caption for path in kept}
        return {path: text if (new := edited[path]) is None else new for path, text in kept.items()}

    def words(self, files: Mapping[Path, str]) -> list[str]:
        """All captions as edited, of caption files and their texts."""
        states = {path.with_suffix(""): state for path, state in self.states.items()}
        pairs = [(text, states.get(path.with_suffix(""), UNTOUCHED)) for path, text in files.items()]
        kept = [text for text, state in pairs if not state.is_removed and state.caption is None]
        return kept + [state.caption for state in states.values() if state.caption and not state.is_removed]

    def newer_captions(self, before: Mapping[str, str], now: Mapping[Path, str]) -> list[SetCaption]:
        """Edits that let captions of files hold which came after the edited ones: those that are others than
        `before`, by the picture's name."""
        states = {path: self.state(path) for path in now}
        edited = [path for path, one in states.items() if one.caption is not None and not one.is_removed]
        return [
            SetCaption(path.relative_to(self.folder).as_posix(), now[path])
            for path in edited
            if now[path] and now[path] != before.get(path.name, now[path])
        ]

    def size(self, original: Path) -> tuple[int, int]:
        """Width and height of a picture as edited. Raises DatasetError."""
        return edited_size(upright_size(original), self.state(original).pixels)

    def files(self, original: Path, mask: Path | None = None) -> PictureFiles:
        """The files of a picture as edited, rendered if a pixel was. Raises DatasetError."""
        files, edits = PictureFiles(original, mask), self.state(original).pixels
        return rendered(files, edits, self.cache / (self.folder.name or "pictures")) if edits else files


def overlaid(folder: Path, cache: Path, version: str = "") -> Overlay:
    """The edits of a folder in a version (a name, an entry's id, `originals`); empty: those that hold. Raises
    DatasetError for a version that isn't there and a log that can't be read."""
    history = EditLog(folder).read()
    states = _states(folder, history.edits(version))
    return Overlay(folder=folder, cache=cache, states=states, unread=history.unread)


def apply_edits(
    folder: Path,
    edits: Sequence[Edit],
    why: str = "",
    *,
    pictures: Collection[Path] = (),
    after: str = "",
    run: str = "",
) -> EditEntry:
    """Write edits into a folder's log, all of them or none; they can be undone at once. `why` is the name of
    the finding that they mend; `pictures` are those of which one has to be left; `after` is the id of the
    state that the edits were chosen on, `run` the mark of edits that are undone with these. Raises
    DatasetError for a picture that isn't there, was left out or is another one since that state, and a crop
    that isn't inside of its picture."""
    if not edits:
        raise DatasetError("There is nothing to change.", "Choose a picture first.")
    readable = [edit_of(edit_dict(edit)) for edit in edits]

    def check(history: EditHistory) -> None:
        states = _states(folder, history.edits())
        seen = _states(folder, history.edits(after)) if after else {**states}
        paths = _Paths(folder)
        for edit in readable:
            path = paths.find(edit.picture)
            state = states.get(path, UNTOUCHED)
            _check_seen(edit, state, seen.get(path, UNTOUCHED))
            _check(edit, path, state)
            states[path] = state.after(edit)
            seen[path] = seen.get(path, UNTOUCHED).after(edit)
        if pictures and all(states.get(path, UNTOUCHED).is_removed for path in pictures):
            raise DatasetError("No picture would be left in this set.", "Add another one first.")

    return EditLog(folder).append(readable, why, check, run=run)


def _check_seen(edit: Edit, state: PictureState, seen: PictureState) -> None:
    """Refuse an edit of a picture whose pixels, or caption if that is edited, are others than were seen."""
    is_same = state.caption == seen.caption if isinstance(edit, SetCaption) else state.pixels == seen.pixels
    if not is_same or state.is_removed != seen.is_removed:
        raise DatasetError(
            f"{edit.picture} was edited elsewhere after you saw it.",
            "Reload the page, or list the edits again, and edit it as it is now.",
        )


def _check(edit: Edit, path: Path, state: PictureState) -> None:
    is_picture = path.suffix.lower() in ENDINGS | HEIC_ENDINGS and not is_mask(path.stem) and path.is_file()
    if not is_picture or (state.is_removed and not isinstance(edit, RestorePicture)):
        raise DatasetError(f"There is no picture {edit.picture} in this set.", "Reload the page.")
    if isinstance(edit, CropPicture):
        check_crop(edit, edited_size(upright_size(path), state.pixels))
        if min(edit.right - edit.left, edit.bottom - edit.top) < LEAST_SIDE:
            raise DatasetError(
                f"Too little of {edit.picture} would be left.", f"Each side needs {LEAST_SIDE} pixels."
            )


def is_edited(folder: Path) -> bool:
    """Whether a folder has a log of edits."""
    return (folder / FILE).is_file()


@dataclass(kw_only=False)
class _Paths:
    """The originals that edits name. A name without a folder is also that of a picture which went into a
    folder since, if there is one only."""

    folder: Path
    _by_name: dict[str, list[Path]] | None = None

    def find(self, picture: str) -> Path:
        path = self.folder / picture
        if "/" in picture or path.is_file():
            return path
        if self._by_name is None:
            self._by_name = {}
            for inside in self.folder.glob("*/*"):
                self._by_name.setdefault(inside.name, []).append(inside)
        found = self._by_name.get(picture, [])
        return found[0] if len(found) == 1 else path


def _states(folder: Path, edits: Iterable[Edit]) -> dict[Path, PictureState]:
    states: dict[Path, PictureState] = {}
    paths = _Paths(folder)
    for edit in edits:
        path = paths.find(edit.picture)
        states[path] = states.get(path, UNTOUCHED).after(edit)
    return states
