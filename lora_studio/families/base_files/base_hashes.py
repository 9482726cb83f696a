"""Kohya's two hashes of a checkpoint file, once for each state: reading gigabytes takes seconds."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from concurrent.futures import Future
from pathlib import Path

from lora_studio.families.base_files.found_base import FoundBase
from lora_studio.files import sha256, write_atomically
from lora_studio.lora.file.metadata import LEGACY_BYTES, LEGACY_OFFSET
from lora_studio.settings import Settings

log = logging.getLogger(__name__)

FILE = "base-hashes.json"
REMEMBERED = 200
Hashes = dict[str, str]


def base_hashes(found: FoundBase, settings: Settings | None = None) -> Hashes:
    """`ss_new_sd_model_hash` and `ss_sd_model_hash`; none for folders and hub ids."""
    if found.layout != "file":
        return {}
    settings = settings or Settings.from_environment()
    memory, state = settings.cache / FILE, _state(found)
    remembered = _read(memory)
    if state not in remembered:
        remembered = {**_read(memory), state: _hash(Path(found.path_or_id))}
        _write(memory, dict(list(remembered.items())[-REMEMBERED:]))
    return remembered[state]


def base_hashes_beside(found: FoundBase) -> Future[Hashes]:
    """`base_hashes` in a thread of its own, beside other work. The process can end before it is done. Whoever
    asks again for the same state of a file gets the same answer."""
    settings, hashes = Settings.from_environment(), Future[Hashes]()

    def work() -> None:
        try:
            hashes.set_result(base_hashes(found, settings))
        except (OSError, ValueError, MemoryError, RuntimeError) as error:  # else who asks would wait for ever
            hashes.set_exception(error)

    try:
        key = (settings.cache, _state(found))
    except OSError as error:
        hashes.set_exception(error)
        return hashes
    with _BEGINNING:
        if (begun := _BEGUN.get(key)) and not (begun.done() and begun.exception()):
            return begun
        _BEGUN.clear()
        _BEGUN[key] = hashes
    threading.Thread(target=work, name="base's hash", daemon=True).start()
    return hashes


_BEGUN: dict[tuple[Path, str], Future[Hashes]] = {}
"""The last one, which a run begins before its libraries are loaded and asks for at its end."""
_BEGINNING = threading.Lock()


def _state(found: FoundBase) -> str:
    """A file's path, size and time; other layouts have no hash, so no state."""
    if found.layout != "file":
        return ""
    file = Path(found.path_or_id).resolve()
    facts = file.stat()
    return f"{file}|{facts.st_size}|{facts.st_mtime_ns}"


def _hash(file: Path) -> Hashes:
    with file.open("rb") as content:
        content.seek(LEGACY_OFFSET)
        window = hashlib.sha256(content.read(LEGACY_BYTES)).hexdigest()
    return {"ss_new_sd_model_hash": sha256(file), "ss_sd_model_hash": window[:8]}


def _read(memory: Path) -> dict[str, Hashes]:
    """The remembered hashes; a damaged file counts as empty."""
    try:
        remembered = json.loads(memory.read_text(encoding="utf-8"))
        return {
            str(state): {str(k): str(v) for k, v in hashes.items()} for state, hashes in remembered.items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, RecursionError):
        log.warning("%s can't be read and begins anew", memory.name)
        return {}


def _write(memory: Path, remembered: dict[str, Hashes]) -> None:
    """Failing to remember is no reason to fail."""
    try:
        write_atomically(memory, json.dumps(remembered, indent=1))
    except OSError as error:
        log.warning("%s can't be written: %s", memory.name, error)
