"""The scan of the image folder: it makes the rows of pictures equal the files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lora_studio.errors import StudioError, UnknownFormat
from lora_studio.events import ShouldStop
from lora_studio.images.image_metadata import SUFFIXES
from lora_studio.images.image_records import image_record
from lora_studio.lora.lora_folder import state_of
from lora_studio.parsing.plain_text import is_plain
from lora_studio.records import ImageRecord
from lora_studio.request import GenerateRequest
from lora_studio.settings import Settings
from lora_studio.store.database import Unstorable
from lora_studio.store.library import Library

AT_ONCE = 100
"""Rows of a transaction."""
PICTURES = frozenset(SUFFIXES.values())
UNREADABLE = (StudioError, OSError, ValueError, ArithmeticError, RecursionError)
"""Exceptions from reading a stranger's file, which is left out then, with a line in the log."""


@dataclass(frozen=True)
class ImageScan:
    """A scan over one library. `complain` is told of each file that can't be read."""

    settings: Settings
    library: Library
    complain: Callable[[Path, Exception], None]

    def scan(self, should_stop: ShouldStop, count: Callable[[int], None]) -> None:
        """Read what is new or changed, and forget what is gone. `count` is told how many more are read."""
        new = self.new_images()
        if new:
            self.library.follow_images(self.settings.images)
        for begin in range(0, len(new), AT_ONCE):
            if should_stop():
                return
            self._read_all(new[begin : begin + AT_ONCE])
            count(len(new[begin : begin + AT_ONCE]))
        rows = self.library.image_fingerprints()
        self.library.remove_images(path for path in rows if not Path(path).is_file())

    def new_images(self) -> list[Path]:
        """Files whose rows are missing or describe another state, in order."""
        rows = self.library.image_fingerprints()
        return sorted(
            path
            for path in self.settings.images.rglob("*")
            if path.suffix in PICTURES and not path.name.startswith(".") and is_plain(str(path))
            if rows.get(str(path)) != state_of(path)
        )

    def read(self, path: Path, request: GenerateRequest | None = None) -> ImageRecord | None:
        """Write a picture's row; None when the file is no picture."""
        state = state_of(path)
        try:
            record = image_record(path, request)
        except UnknownFormat as error:
            self.complain(path, error)
            self.library.remove_images([str(path)])
            return None
        self.library.put_image(record, state)
        return record

    def _read_all(self, paths: Sequence[Path]) -> None:
        """Write the rows of pictures in one transaction, without unreadable ones."""
        rows = []
        for path in paths:
            state = state_of(path)
            try:
                rows.append((image_record(path), state))
            except UNREADABLE as error:
                self.complain(path, error)
                self.library.remove_images([str(path)])
        try:
            self.library.put_images(rows)
        except Unstorable:
            for path in paths:
                try:
                    self.read(path)
                except UNREADABLE as error:
                    self.complain(path, error)
