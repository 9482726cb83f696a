"""The id of this home folder, which tells it from every other one that writes to the same mirror."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from lora_studio.errors import StoreError
from lora_studio.files import disk_errors

NAME = "machine-id"


def machine_id(home: Path) -> str:
    """A random UUID, made once, in the home folder: it moves with the trainings. Raises StoreError."""
    path = home / NAME
    for _ in range(2):
        try:
            return str(uuid.UUID(path.read_text("ascii").strip()))
        except FileNotFoundError:
            _make(path)
        except (ValueError, OSError) as error:
            raise StoreError(
                f"The file {path} can't be read as this home's id: {error}.", "Remove it: a new one is made."
            ) from error
    raise StoreError(f"The file {path} can't be made.", "Check the folder's rights.")


def _make(path: Path) -> None:
    """Write a new id unless another process has: a link fails where there is one already."""
    new = path.with_name(f".{path.name}-{os.getpid()}-{uuid.uuid4().hex[:8]}")
    with disk_errors(f"The file {path}", "made"):
        new.write_text(f"{uuid.uuid4()}\n", "ascii")
        try:
            os.link(new, path)
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            new.replace(path)
        new.unlink(missing_ok=True)
