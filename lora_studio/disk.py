"""Free space of a disk, checked before writing files that might fill it."""

from __future__ import annotations

import shutil
from pathlib import Path

from lora_studio.errors import DiskFull
from lora_studio.formatting import size
from lora_studio.settings import Settings

HINT = "Free some space, or set LORA_STUDIO_KEEP_FREE_GB lower."


def free_bytes(place: Path) -> int | None:
    """Free bytes of the disk that a file or folder lies on or would lie on; None where nobody can tell."""
    place = place.absolute()
    try:
        existing = next(folder for folder in (place, *place.parents) if folder.exists())
        return shutil.disk_usage(existing).free
    except (OSError, StopIteration):
        return None


def has_room(place: Path, wanted: int = 0, settings: Settings | None = None) -> bool:
    """Whether `wanted` bytes fit while the space to be kept free stays free; true where nobody can tell."""
    free, kept = free_bytes(place), (settings or Settings.from_environment()).keep_free_bytes
    return free is None or free >= wanted + kept


def check_room(place: Path, what: str, wanted: int = 0, settings: Settings | None = None) -> None:
    """Refuse to begin writing `what` (as "The pictures") where it doesn't fit. Raises DiskFull."""
    settings = settings or Settings.from_environment()
    if has_room(place, wanted, settings):
        return
    kept = f"{size(settings.keep_free_bytes)} are kept free"
    need = f"{what} would take {size(wanted)}, and {kept}" if wanted else f"{what} can't be stored: {kept}"
    raise DiskFull(f"The disk has {size(free_bytes(place) or 0)} left. {need}.", HINT)
