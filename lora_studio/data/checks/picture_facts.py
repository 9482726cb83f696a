"""Facts of one picture that the checks go by: small, and kept by the content of its file."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from lora_studio.files import make_room, write_atomically

VERSION = 2
"""Raised when a fact is measured in another way: what was kept before is measured anew."""
MOST_KNOWN = 50_000
MOST_BYTES = 200_000_000
"""Room for the facts of some 60,000 pictures."""


@dataclass(frozen=True, kw_only=True)
class PictureFacts:
    """Measurements of a picture, upright and in sRGB.

    `content` is the SHA-256 of the file, `pixels` that of the picture at the size it is measured at; `size`
    is its width and height. `orientation` is Exif's, `transparent` the share of pixels that are more
    transparent than not. `sharpness` is the slope of its edges (`edge_sharpness`), None without edges.
    `inner` is what borders leave of it, left, top, right, bottom in pixels, all of it where it has none of
    the colour `border`. `hash` is the perceptual hash, `small` the picture in SMALL x SMALL RGB in
    hexadecimal digits. `columns` and `rows` are the shares of its edges in equal strips, `edges` the places
    with edges as bits of a grid."""

    content: str
    pixels: str
    size: tuple[int, int]
    orientation: int
    colours: str
    transparent: float
    sharpness: float | None
    inner: tuple[int, int, int, int]
    border: str
    hash: str
    small: str
    columns: tuple[float, ...]
    rows: tuple[float, ...]
    edges: str
    is_mask_like: bool

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PictureFacts:
        """Facts as `asdict` gives them, after JSON. Raises TypeError for others."""
        listed: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in data.items()
        }
        if listed.keys() != {field.name for field in fields(cls)}:
            raise TypeError("other facts")
        return cls(**listed)


class FactsCache:
    """Facts of pictures in a folder, a small file for each content. Without a folder nothing is kept. What
    can't be read or written is measured again: a full disk ends no check. Threads may share one."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder / f"v{VERSION}" if folder else None
        self._contents: dict[tuple[Path, int, int, int, int], str] = {}

    def known(self, path: Path, file: os.stat_result) -> PictureFacts | None:
        """The facts of a file that this object knew when it was as it is now, which is not read again."""
        content = self._contents.get(_key(path, file))
        return self.get(content) if content else None

    def learn(self, path: Path, file: os.stat_result, content: str) -> None:
        """Note the content of a file that was like this before it was read."""
        if len(self._contents) >= MOST_KNOWN:
            self._contents.clear()
        self._contents[_key(path, file)] = content

    def get(self, content: str) -> PictureFacts | None:
        if self._folder is None:
            return None
        try:
            return PictureFacts.from_json(json.loads((self._folder / f"{content}.json").read_bytes()))
        except (OSError, ValueError, TypeError, AttributeError, RecursionError):
            return None

    def put(self, facts: PictureFacts) -> None:
        if self._folder is not None:
            with contextlib.suppress(OSError):
                write_atomically(
                    self._folder / f"{facts.content}.json", json.dumps(asdict(facts)), lasting=False
                )

    def tidy(self) -> None:
        """Drop measurements by earlier versions, and beyond MOST_BYTES what was used longest ago."""
        if self._folder is not None:
            for version in range(1, VERSION):
                shutil.rmtree(self._folder.with_name(f"v{version}"), ignore_errors=True)
            make_room(self._folder, "*.json", MOST_BYTES)


def _key(path: Path, file: os.stat_result) -> tuple[Path, int, int, int, int]:
    return path, file.st_ino, file.st_size, file.st_mtime_ns, file.st_ctime_ns
