"""The studio's own log, kept in its home, and a ZIP of all logs to send to somebody. No secret stands in
either: each line is looked through when it is written, and again when it is packed."""

from __future__ import annotations

import json
import logging
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from logging.handlers import RotatingFileHandler
from pathlib import Path

from lora_studio import __version__
from lora_studio.files import disk_errors
from lora_studio.operations.findings import Finding
from lora_studio.parsing.secret_text import known_secrets, without_secrets
from lora_studio.settings import Settings

FOLDER, NAME = "logs", "studio.log"
LARGEST, KEPT = 1_000_000, 2
"""Bytes of a file, and the number of older ones."""
PACKED_TRAININGS, PACKED_BYTES = 20, 200_000
"""Trainings whose logs are packed, the newest, and the bytes of each log, from its end."""
PACKED_REPORTS = 20
READ_ME = """Logs of LoRA Studio {version}.

Passwords, keys and tokens that the studio knows, or that look like one, are replaced by a mark, and your home
folder by ~. Names of your LoRAs, files and base models, and messages of trainings may stand in them: look
through them before you send them to somebody.
"""


class StudioLog(RotatingFileHandler):
    """The handler that writes warnings and errors to the home, or loses them: nothing fails for a log."""

    def __init__(self, settings: Settings) -> None:
        folder = settings.home / FOLDER
        with disk_errors("The log", "begun"):
            folder.mkdir(parents=True, exist_ok=True)
        super().__init__(
            folder / NAME,
            maxBytes=LARGEST,
            backupCount=KEPT,
            encoding="utf-8",
            delay=True,
            errors="backslashreplace",
        )
        self._secrets = secrets_here(settings)
        self.setLevel(logging.WARNING)
        self.setFormatter(logging.Formatter("%(asctime)s  %(levelname)s  %(name)s: %(message)s"))

    def format(self, record: logging.LogRecord) -> str:
        """The line without secrets, its traceback too."""
        return without_secrets(super().format(record), self._secrets)

    def handleError(self, record: logging.LogRecord) -> None:
        """A full disk is said elsewhere."""


def secrets_here(settings: Settings) -> tuple[str, ...]:
    """The secrets of this installation, from the settings and the environment."""
    hub = settings.hub_accounts
    ours = (settings.password, settings.metrics_token, settings.supabase_key, settings.supabase_password)
    return known_secrets(others=(*ours, hub.client_secret if hub else ""))


def begin_log(settings: Settings) -> StudioLog:
    """Write the program's warnings to its home from now on, and still to the terminal. Close the handler with
    `end_log`. Raises StoreError."""
    root, log = logging.getLogger(), StudioLog(settings)
    root.addHandler(logging.lastResort or logging.StreamHandler()) if not root.handlers else None
    root.addHandler(log)
    return log


def end_log(log: StudioLog) -> None:
    """Write no more to it."""
    logging.getLogger().removeHandler(log)
    log.close()


def pack_logs(settings: Settings, target: Path, findings: Sequence[Finding] = ()) -> Path:
    """Write a ZIP of logs, reports of bugs, the newest trainings' logs, `findings`. Raises StoreError."""
    secrets = secrets_here(settings)
    with disk_errors("The logs", "packed"), zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("README.txt", READ_ME.format(version=__version__))
        if findings:
            report = json.dumps([asdict(finding) for finding in findings], indent=2, ensure_ascii=False)
            archive.writestr("check-up.json", shown_text(report, secrets))
        for path in _logs(settings):
            text = _end_of(path)
            if text:
                name = path.relative_to(settings.home).as_posix()
                archive.writestr(name, shown_text(text, secrets).encode("utf-8", "backslashreplace"))
    return target


def shown_text(text: str, secrets: Iterable[str]) -> str:
    """A log's text without secrets and without the name of the home folder."""
    home = str(Path.home())
    return without_secrets(text.replace(home, "~") if len(home) > 1 else text, secrets)


def _logs(settings: Settings) -> Iterator[Path]:
    folder = settings.home / FOLDER
    yield from (folder / f"{NAME}{ending}" for ending in ("", *(f".{number + 1}" for number in range(KEPT))))
    yield from sorted(folder.glob("bug-*.txt"), reverse=True)[:PACKED_REPORTS]
    jobs = [path for path in settings.jobs.glob("*") if path.is_dir()] if settings.jobs.is_dir() else []
    jobs.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for job in jobs[:PACKED_TRAININGS]:
        yield from (job / "log.txt", job / "process" / "console.log")


def _end_of(path: Path) -> str:
    """The last bytes of a log, from a whole line on; empty where there is none. A line that was begun before
    may have lost the word that tells what its value is."""
    try:
        with path.open("rb") as file:
            length = file.seek(0, 2)
            file.seek(max(0, length - PACKED_BYTES))
            content = file.read(PACKED_BYTES)
    except OSError:
        return ""
    if length > PACKED_BYTES:
        content = content.partition(b"\n")[2]
    return content.decode("utf-8", "replace")
