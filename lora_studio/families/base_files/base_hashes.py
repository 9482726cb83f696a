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
    file, memory = Path(found.path_or_id).resolve(), settings.cache / FILE
    facts = file.stat()
    state = f"{file}|{facts.st_size}|{facts.st_mtime_ns}"
    remembered = _read(memory)
    if state not in remembered:
        remembered = {**_read(memory), state: _hash(file)}
        _write(memory, dict(list(remembered.items())[-REMEMBERED:]))
    return remembered[state]


def base_hashes_beside(found: FoundBase) -> Future[Hashes]:
    """`base_hashes` in a thread of its own, beside other work. The process can end before it is done."""
    settings, hashes = Settings.from_environment(), Future[Hashes]()

    def work() -> None:
        try:
            hashes.set_result(base_hashes(found, settings))
        except (OSError, ValueError, MemoryError, RuntimeError) as error:  # else who asks would wait for ever
            hashes.set_exception(error)

    threading.Thread(target=work, name="base's hash", daemon=True).start()
    return hashes


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
