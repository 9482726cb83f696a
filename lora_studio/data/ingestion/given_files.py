"""The files of a folder that somebody names, with the edits that lie beside them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lora_studio.data.caption_tables import is_table
from lora_studio.data.edits.edit_log import EditLog
from lora_studio.data.ingestion.uploaded_config import MOST_BYTES
from lora_studio.data.ingestion.uploaded_files import CAPTION_ENDINGS
from lora_studio.data.training_set.export_folder import copy_as_edited
from lora_studio.errors import DatasetError
from lora_studio.files import disk_errors, read_errors
from lora_studio.parsing.archives import MOST_ENTRIES

NAMES = b"image_dir"
"""Bytes that stand in each dataset config with pictures."""


def find_files(folder: Path) -> list[Path]:
    """The files in the folder and, for Kohya's layout, one level below, or all below a folder with a dataset
    config; a ZIP or a picture by itself. Raises DatasetError."""
    if not os.path.exists(folder):
        raise DatasetError(f"{folder} does not exist.", "Check --images.", path=folder)
    name = folder.name.lower()
    if folder.is_file() and not is_table(name) and not name.endswith(CAPTION_ENDINGS):
        return [folder]  # what it is is known by its content
    if not folder.is_dir():
        raise DatasetError(
            f"{folder} is not a folder.", "Give --images a folder, a ZIP or a picture.", path=folder
        )
    candidates = [
        *folder.iterdir(),
        *(inner for outer in folder.iterdir() if outer.is_dir() for inner in outer.iterdir()),
    ]
    if configs_in(folder):
        candidates = list(_files_below(folder))
    files = sorted(path for path in candidates if path.is_file() and not path.name.startswith("."))
    if not files:
        raise DatasetError(
            f"There are no pictures in {folder}.", "Put PNG, JPEG or WebP files there.", path=folder
        )
    return files


def configs_in(folder: Path) -> list[Path]:
    """The dataset configs in a folder. Raises DatasetError."""
    with read_errors(folder, DatasetError, f"The folder {folder.name}"):
        found = sorted(path for path in folder.glob("*.toml") if path.is_file())
        return [path for path in found if path.stat().st_size <= MOST_BYTES and NAMES in path.read_bytes()]


def _files_below(folder: Path) -> Iterator[Path]:
    """All files below a folder, not through links to other folders. Raises DatasetError for too many."""
    count = 0
    for place, inside, names in os.walk(folder):
        inside[:] = [name for name in inside if not name.startswith(".")]
        count += len(names) + len(inside)
        if count > MOST_ENTRIES:
            raise DatasetError(
                f"{folder} holds more files than are read at once ({MOST_ENTRIES}).",
                "Give a folder of the pictures only.",
                path=folder,
            )
        yield from (Path(place) / name for name in names)


@contextmanager
def files_as_edited(folder: Path, version: str = "") -> Iterator[list[Path]]:
    """The files as `find_files` has them; of a folder with edits, a copy of its pictures, captions and masks
    as edited, for the time of the block. Raises DatasetError, also for a version that isn't there."""
    if not folder.is_dir() or not EditLog(folder).read().line(version):
        yield find_files(folder)
        return
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        copy = Path(place) / folder.absolute().name
        with disk_errors("The edited pictures", "copied", kind=DatasetError):
            copy_as_edited(folder, copy, version)
            for config in configs_in(folder):
                shutil.copyfile(config, copy / config.name)
        yield find_files(copy)
