"""Which process a job belongs to, and whether that process is still there.

A process is named `<host>:<pid>:<start time>`: the start time tells it from a later one that was given the
same number. No extra packages: the start time comes from /proc, from Windows, or else from `ps`.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

SILENCE_SECONDS = 60.0
"""After so long without heartbeat a process on another host counts as gone."""


def this_process() -> str:
    return f"{_host()}:{os.getpid()}:{_start_time(os.getpid())}"


def is_alive(owner: str, *, silence: float) -> bool:
    """Whether the named process still runs. `silence` is the age of its last sign of life in seconds; it
    decides where this host can't see the process."""
    host, pid, start = (*owner.rsplit(":", 2), "", "")[:3]
    if not pid.isdigit():
        return False
    if host != _host():
        return silence < SILENCE_SECONDS
    return _exists(int(pid)) and _start_time(int(pid)) == start


def _host() -> str:
    return socket.gethostname() or "localhost"


def _exists(pid: int) -> bool:
    if sys.platform == "win32":
        return bool(_start_time(pid))  # os.kill would end the process there
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OverflowError:
        return False
    except PermissionError:
        return True
    return True


def _start_time(pid: int) -> str:
    """Something that two processes of the same number do not share; empty when it can't be told."""
    if sys.platform == "win32":
        return _start_time_on_windows(pid)
    stat = Path(f"/proc/{pid}/stat")
    try:
        if stat.exists():
            # Fields 3 (state) and 22 (clock ticks from system start); field 2 may hold spaces and brackets.
            fields = stat.read_text("utf-8", "replace").rpartition(")")[2].split()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii")[:8]
            return "" if fields[0] in "ZX" else f"{boot}-{fields[19]}"
        ps = ["ps", "-o", "lstart=", "-p", str(pid)]
        english = {**os.environ, "LC_ALL": "C"}
        run = subprocess.run(ps, capture_output=True, text=True, timeout=5, check=False, env=english)
        return "-".join(run.stdout.replace(":", ".").split())
    except (OSError, IndexError, subprocess.SubprocessError):
        return ""


def _start_time_on_windows(pid: int) -> str:
    """Creation time in units of 100 ns; empty for a process that has ended."""
    if sys.platform != "win32":
        return ""
    import ctypes
    from ctypes import wintypes

    query_limited_information, still_active = 0x1000, 259
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    kernel.OpenProcess.restype = wintypes.HANDLE
    handle = kernel.OpenProcess(query_limited_information, False, pid)
    if not handle:
        return ""
    try:
        times = [wintypes.FILETIME() for _ in range(4)]
        code = wintypes.DWORD()
        known = kernel.GetProcessTimes(wintypes.HANDLE(handle), *(ctypes.byref(time) for time in times))
        kernel.GetExitCodeProcess(wintypes.HANDLE(handle), ctypes.byref(code))
        if not known or code.value != still_active:
            return ""
        return str((times[0].dwHighDateTime << 32) | times[0].dwLowDateTime)
    finally:
        kernel.CloseHandle(wintypes.HANDLE(handle))
