"""Owners of jobs: names of processes, and whether the named process still runs.

A process is named `<host>:<pid>:<start time>`: the start time tells it from a later one that was given the
same number.
"""

from __future__ import annotations

import os
import re
import socket

CLOCK_SECONDS = 5.0
"""Seconds by which a clock that is set moves the start of a machine."""
SILENCE_SECONDS = 60.0
"""Seconds without heartbeat after which a process on another host counts as gone."""


FORMER_START = re.compile(r"[0-9a-f]{1,16}-\d{1,20}")
"""The start time as a version that counted in the kernel's ticks wrote it: it says nothing here, and the
heartbeat decides, so that a page that runs since before an update is not taken for dead."""


def this_process() -> str:
    return f"{_host()}:{os.getpid()}:{_start_time(os.getpid())}"


def is_alive(owner: str, *, silence: float) -> bool:
    """Whether the named process still runs. `silence` is the age of its last heartbeat in seconds; it decides
    where this host can't see the process."""
    host, pid, start = (*owner.rsplit(":", 2), "", "")[:3]
    if not pid.isdigit():
        return False
    if host != _host() or FORMER_START.fullmatch(start):
        return silence < SILENCE_SECONDS
    return bool(start) and _start_time(int(pid)) == start


def has_restarted(at: float) -> bool:
    """Whether this machine was started after the unix time `at`; false where nobody can tell."""
    import psutil  # type: ignore[import-untyped]

    try:
        return float(psutil.boot_time()) > at + CLOCK_SECONDS
    except (psutil.Error, OSError, RuntimeError):
        return False


def _host() -> str:
    return socket.gethostname() or "localhost"


def _start_time(pid: int) -> str:
    """A text that two processes of the same number do not share; empty for an ended process, also where
    nobody has fetched its exit status yet."""
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}:
            return ""
        # On Linux both of these move with the clock when that is set, and their difference does not.
        booted = psutil.boot_time() if psutil.LINUX else 0.0
        return f"{process.create_time() - booted:.2f}"
    except (psutil.Error, OverflowError, ValueError, RuntimeError):
        return ""
