"""Owners of uploads. Their folder is everybody's, and a path in it is a client's word."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lora_studio.access.visitor import Kind, Visitor


def claim_files(paths: Sequence[Any], visitor: Visitor, folder: Path) -> None:
    """Record whose the files below the folder of uploads are: those that came in, and copies that go out."""
    for given in paths:
        if key := _key(given, folder):
            visitor.claims(Kind.UPLOAD, key, alone=False)


def sees_upload(given: Any, visitor: Visitor, folder: Path) -> bool:
    """Whether a path leads to an upload of the visitor."""
    key = _key(given, folder)
    return bool(key) and visitor.sees(Kind.UPLOAD, key)


def _key(given: Any, folder: Path) -> str:
    """The key of an upload: its path below the folder. Empty for another place."""
    if not isinstance(given, str | os.PathLike) or "\0" in str(given):
        return ""
    path, top = Path(os.path.realpath(given)), Path(os.path.realpath(folder))
    return path.relative_to(top).as_posix() if path != top and path.is_relative_to(top) else ""
