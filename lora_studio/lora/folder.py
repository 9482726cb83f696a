"""A LoRA's folder as the library shows it. The facts come from the file's own header; `training.json` beside
it knows the kind, and a title given later, since a new title must change neither folder nor hash."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from lora_studio.errors import ModelFileError
from lora_studio.lora.files import find_file, read_header
from lora_studio.records import LoraRecord

NOTES = "training.json"
READING = "1"
"""Raised when the same files give other records, so that they are read again."""
PICTURES = {".png", ".jpg", ".jpeg", ".webp"}
PREVIEW = re.compile(r"step-(\d+)-(\d+)")
LONGEST_TITLE = 120


def read_record(folder: Path) -> LoraRecord:
    """The record, its thumbnail left empty. Raises BrokenFile, UnknownFormat, OSError."""
    header = read_header(find_file(folder))
    said, notes = header.metadata, read_notes(folder)
    title = notes.get("title") or said.get("modelspec.title") or said.get("ss_output_name") or folder.name
    return LoraRecord(
        id=header.tensor_hash,
        slug=folder.name,
        title=str(title)[:LONGEST_TITLE],
        path=str(header.path),
        family=header.family,
        base=header.base,
        trigger_word=said.get("modelspec.trigger_phrase", ""),
        kind=_kind(notes),
        network_dim=header.network_dim,
        network_alpha=header.network_alpha,
        steps=int(said["ss_steps"]) if said.get("ss_steps", "").isdecimal() else 0,
        size_bytes=header.size_bytes,
        created_at=header.path.stat().st_mtime,
        previews=tuple(str(path) for path in _previews(folder)),
        metadata=dict(said),
    )


def fingerprint(folder: Path) -> str:
    """Another one whenever anything changed that the record is made from; empty without a LoRA file."""
    try:
        parts = (find_file(folder), folder / NOTES, folder / "previews")
    except (ModelFileError, OSError):
        return ""
    return " ".join([READING, parts[0].name, *(state_of(part) for part in parts)])


def state_of(path: Path) -> str:
    """Size and time of a file or folder; empty when there is none."""
    try:
        facts = path.stat()
    except OSError:
        return ""
    return f"{facts.st_size}:{facts.st_mtime_ns}"


def read_notes(folder: Path) -> dict[str, Any]:
    """What `training.json` says; nothing when it is missing or damaged."""
    try:
        data = json.loads((folder / NOTES).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def best_preview(previews: tuple[str, ...]) -> str:
    """The first picture of the last step, else any; empty when there is none."""
    steps = [
        (int(match[1]), -int(match[2]), path)
        for path in previews
        if (match := PREVIEW.fullmatch(Path(path).stem))
    ]
    return max(steps)[2] if steps else (previews[0] if previews else "")


def _kind(notes: dict[str, Any]) -> str:
    try:
        return str(notes["config"]["dataset"]["kind"])
    except (KeyError, TypeError):
        return ""


def _previews(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("previews/*") if path.suffix.lower() in PICTURES)
