"""A folder in memory for all that the tests write, where the machine has plenty of it.

Each of some thousand tests opens a studio of its own, whose database waits for the disk at each step so that
nothing is lost; what is under test does not change with the kind of disk, only how long that takes.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")
PREFIX = "lora-tests-"
ROOM = 6 * 2**30
"""Bytes that must be free, on that disk and in memory: several times what a run of all tests takes."""


def use_memory_disk() -> Path | None:
    """Make the folder and let temporary files of this process and of those that it starts go there. None
    where the user has chosen a place (TMPDIR), and where there is too little room."""
    if "TMPDIR" in os.environ or not _has_room(SHARED_MEMORY):
        return None
    _sweep(SHARED_MEMORY)
    folder = SHARED_MEMORY / f"{PREFIX}{os.getpid()}"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o711)  # PostgreSQL runs as another user, in a folder of its own below
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    return folder


def _has_room(place: Path) -> bool:
    try:
        facts = os.statvfs(place)
        memory = Path("/proc/meminfo").read_text("ascii").split()
    except (OSError, AttributeError):  # neither is there on other systems than Linux
        return False
    free = int(memory[memory.index("MemAvailable:") + 1]) * 1024
    closed = facts.f_flag & os.ST_NOEXEC or not os.access(place, os.W_OK | os.X_OK)
    return not closed and min(free, facts.f_bavail * facts.f_frsize) > ROOM


def _sweep(place: Path) -> None:
    """Remove what earlier runs left for a look at what had failed, or because they were killed."""
    for folder in place.glob(f"{PREFIX}*"):
        owner = folder.name.removeprefix(PREFIX)
        if owner.isdecimal() and not Path("/proc", owner).exists():
            shutil.rmtree(folder, ignore_errors=True)
