"""Captions in one JSON file, as in sd-scripts' fine-tuning: `{"picture": {"caption": ..., "tags": ...}}`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lora_studio.data.caption_tables import caption_of
from lora_studio.data.training_set.subsets import Subset, picture_files
from lora_studio.errors import DatasetError


def read_captions_file(subset: Subset, notes: list[str]) -> dict[Path, str]:
    """Pictures with captions, by name. A named picture that is missing is noted. Raises DatasetError."""
    assert subset.captions_file is not None
    entries = _entries(subset.captions_file)
    files = {path.stem: path for path in picture_files(subset.folder)} if subset.folder.is_dir() else {}
    found: dict[Path, str] = {}
    gone = []
    for key, entry in entries.items():
        path = _picture(key, subset.folder, files)
        if path is None:
            gone.append(key)
        else:
            found[path] = caption_of(entry)
    if gone:
        rest = f" and {len(gone) - 1} more" if len(gone) > 1 else ""
        notes.append(f"{subset.captions_file.name} names {gone[0]}{rest}, which is not there: left out.")
    return dict(sorted(found.items()))


def _entries(path: Path) -> dict[str, dict[str, Any]]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise DatasetError(f"There is no file {path}.", path=path) from error
    except (OSError, ValueError, RecursionError) as error:
        why = str(error).splitlines()[0][:200]
        raise DatasetError(f"{path.name} can't be read as JSON: {why}.", path=path) from error
    if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
        raise DatasetError(
            f"{path.name} doesn't hold captions.",
            'It should look like {"picture.png": {"caption": "a dog"}}.',
            path=path,
        )
    return entries


def _picture(key: str, folder: Path, files: dict[str, Path]) -> Path | None:
    """The picture of a key: a path, or a file name with or without its ending; None where there is none."""
    for path in (folder / key, Path(key)):
        if path.is_file():
            return path
    return files.get(key) or files.get(Path(key).name) or files.get(Path(key).stem)
