"""Small pictures of what the checks of a set found, made beside the check: the page only names files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from lora_studio.data.checks.dataset_report import CheckedPart, DatasetReport
from lora_studio.data.edits.overlay import Overlay, overlaid
from lora_studio.data.edits.picture_edits import Edit, PixelEdit
from lora_studio.data.pixels.thumbnails import thumbnail, thumbnail_folder
from lora_studio.errors import DatasetError, StoreError
from lora_studio.events import ShouldStop
from lora_studio.records import DatasetRecord
from lora_studio.settings import Settings

MOST_SHOWN, MOST_PREVIEWS = 5, 2
"""Pictures of one check that are shown, and those shown before and after the fix."""


class FixPreview(NamedTuple):
    """The thumbnails of a picture as it is and as its fix makes it."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, kw_only=True)
class FindingPictures:
    """Thumbnails by the pictures' names, and previews by the check's id, where its fix changes pixels."""

    thumbnails: Mapping[str, str]
    previews: Mapping[str, tuple[FixPreview, ...]]


def finding_pictures(
    report: DatasetReport, record: DatasetRecord, settings: Settings, should_stop: ShouldStop
) -> FindingPictures:
    """The small pictures for a report on a set. What can't be read or rendered has none."""
    paths = {picture.name: picture.path for picture in report.pictures}
    names = dict.fromkeys(name for part in report.parts for name in part.pictures[:MOST_SHOWN])
    thumbnails: dict[str, str] = {}
    for name in names:
        if not should_stop() and (small := _thumbnail(paths[name], settings)):
            thumbnails[name] = small
    overlay = overlaid(Path(record.path), settings.edited)
    previews: dict[str, tuple[FixPreview, ...]] = {}
    for part in report.parts:
        if not should_stop() and (made := _previews(part, paths, overlay, settings)):
            previews[part.check.id] = made
    return FindingPictures(thumbnails=thumbnails, previews=previews)


def _previews(
    part: CheckedPart, paths: Mapping[str, Path], overlay: Overlay, settings: Settings
) -> tuple[FixPreview, ...]:
    """Previews of the first fixes of a check that change pixels."""
    made: list[FixPreview] = []
    for finding in part.findings:
        edits = finding.fix.edits if finding.fix else ()
        if len(made) == MOST_PREVIEWS:
            break
        if edits and all(isinstance(edit, PixelEdit) for edit in edits):
            name = edits[0].picture
            before = _thumbnail(paths[name], settings)
            after = _after(overlay, edits, settings)
            if before and after:
                made.append(FixPreview(name, before, after))
    return tuple(made)


def _after(overlay: Overlay, edits: tuple[Edit, ...], settings: Settings) -> str:
    """The thumbnail of a picture with more edits of it; empty where they can't be made."""
    original = overlay.folder / edits[0].picture
    state = overlay.state(original)
    for edit in edits:
        state = state.after(edit)
    try:
        files = replace(overlay, states={**overlay.states, original: state}).files(original)
    except (DatasetError, StoreError):
        return ""
    return _thumbnail(files.picture, settings)


def _thumbnail(path: Path, settings: Settings) -> str:
    return thumbnail(path, thumbnail_folder(path, settings))
