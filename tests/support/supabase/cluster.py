"""A real PostgreSQL of the tests' own: started by them, on a free port of this machine, gone afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from tests.support.serving import CHECKOUT, free_port
from tests.support.supabase.places import HERE
from tests.support.waiting import PATIENCE

BOOTSTRAP = HERE / "bootstrap.sql"
MIGRATIONS = CHECKOUT / "supabase" / "migrations"
START_SECONDS = PATIENCE
WINDOWS = os.name == "nt"
# Tests lose nothing by a power cut.
SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "60"}


@dataclass(frozen=True)
class Cluster:
    """A running PostgreSQL; `postgres` is its superuser, who needs no password."""

    port: int

    def url(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """A connection of the superuser that commits every statement."""
        return psycopg.connect(self.url(database), autocommit=True)

    def create(self, database: str, template: str = "template0") -> str:
        """A new database as a copy of another; its address."""
        with self.connect() as connection:
            connection.execute(f'create database "{database}" template "{template}" encoding UTF8')
        return self.url(database)

    def run(self, database: str, files: Sequence[Path]) -> None:
        """Run SQL files, each in a transaction of its own."""
        with self.connect(database) as connection:
            for file in files:
                with connection.transaction():
                    connection.execute(file.read_bytes())


@contextmanager
def running_cluster(programs: Path) -> Iterator[Cluster]:
    """Make a cluster in a temporary folder, start it, and end both afterwards."""
    # Not in pytest's folder, which only the user who runs the tests may enter.
    folder = Path(tempfile.mkdtemp(prefix="lora-studio-postgres-"))
    user = _user(folder)
    try:
        made = subprocess.run(
            [
                *(programs / "initdb", "-D", folder / "data", "-U", "postgres", "--auth=trust"),
                *("--encoding=UTF8", "--locale=C", "--no-sync"),
            ],
            capture_output=True,
            text=True,
            cwd=folder,
            check=False,
            **user,
        )
        assert made.returncode == 0, made.stdout + made.stderr
        with _running(programs, folder, user) as cluster:
            yield cluster
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _user(folder: Path) -> dict[str, Any]:
    """As root, the user that PostgreSQL comes with."""
    if WINDOWS or os.geteuid() != 0:
        return {}
    shutil.chown(folder, "postgres", "postgres")
    return {"user": "postgres", "group": "postgres", "extra_groups": []}


@contextmanager
def _running(programs: Path, folder: Path, user: dict[str, Any]) -> Iterator[Cluster]:
    cluster = Cluster(free_port())
    options = {**SETTINGS, "port": str(cluster.port), "listen_addresses": "127.0.0.1"}
    if not WINDOWS:
        options["unix_socket_directories"] = ""
    with (folder.parent / f"{folder.name}.log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(programs / "postgres", "-D", folder / "data"),
                *(part for name, value in options.items() for part in ("-c", f"{name}={value}")),
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            **user,
        )
    try:
        _wait(cluster, process, Path(log.name))
        yield cluster
    finally:
        process.terminate() if WINDOWS else process.send_signal(signal.SIGINT)  # "fast": drop the clients
        process.wait(PATIENCE)
        Path(log.name).unlink()


def _wait(cluster: Cluster, process: subprocess.Popen[bytes], log: Path) -> None:
    give_up = time.monotonic() + START_SECONDS
    while True:
        try:
            cluster.connect().close()
            return
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError(f"PostgreSQL does not start: {log.read_text()}") from None
            time.sleep(0.05)
