"""An empty database as a file to copy: the steps of its schema take ten times as long."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from lora_studio.store.database import Database


def put_database(path: Path) -> None:
    """Write one that no program has opened before, unless there is one. It is opened as after an update."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_made())


@cache
def _made() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "studio.db")
        Database(path).close()
        return path.read_bytes()
