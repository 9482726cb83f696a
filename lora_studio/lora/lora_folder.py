"""A LoRA's folder as the library shows it. Facts come from the file's own header; `training.json` beside it
has the kind, and what people said of it, as a title, since that must change neither folder nor hash."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lora_studio.errors import ModelFileError, StoreError, StudioError
from lora_studio.files import write_atomically
from lora_studio.lora.file.lora_files import LONGEST_TITLE, LoraHeader, find_file, read_header, title_in
from lora_studio.lora.file.tensor_table import read_tensor_table
from lora_studio.parsing.file_names import RESERVED
from lora_studio.parsing.plain_text import (
    LONGEST_KEPT,
    LONGEST_KEPT_TABLE,
    is_plain,
    plain_name,
    plain_table,
    plain_text,
)
from lora_studio.records import LoraRecord

NOTES = "training.json"
READING = "3"
"""Version of the reading. Raised when the same files give other records, so that they are read again."""
PICTURES = {".png", ".jpg", ".jpeg", ".webp"}
PREVIEW = re.compile(r"step-(\d+)-(\d+)")
LONGEST_NOTES = 8 << 20
"""Bytes of `training.json`; ours have some kB."""
LONGEST_KIND, MOST_PREVIEWS = 40, 500
MOST_TAGS, LONGEST_TAG, LONGEST_NOTE = 20, 40, 1000


def read_record(folder: Path) -> LoraRecord:
    """The record, its thumbnail left empty. Raises BrokenFile, UnknownFormat, OSError."""
    header = read_header(find_file(folder))
    notes = read_notes(folder)
    return LoraRecord(
        id=header.tensor_hash,
        slug=folder.name,
        title=plain_text(notes.get("title"), LONGEST_TITLE) or header.title or folder.name,
        path=str(header.path),
        family=header.family,
        base=header.base,
        trigger_word=header.trigger_word,
        kind=_kind(notes),
        network_dim=header.network_dim,
        network_alpha=header.network_alpha,
        steps=header.steps,
        size_bytes=header.size_bytes,
        created_at=header.path.stat().st_mtime,
        previews=tuple(str(path) for path in _previews(folder)),
        metadata=plain_table(header.metadata, value=LONGEST_KEPT, whole=LONGEST_KEPT_TABLE),
        left_out=header.left_out,
        favourite=notes.get("favourite") is True,
        tags=tags_in(notes),
        note=plain_text(notes.get("note"), LONGEST_NOTE),
    )


def base_of(record: LoraRecord) -> str:
    """The base model that a LoRA was trained on: by its training.json, which keeps the path of a folder, or
    else by the file's metadata."""
    path = Path(record.path)
    try:
        notes = read_notes(path if path.is_dir() else path.parent)
        return str(notes["config"]["model"]["pretrained_model_name_or_path"])
    except (KeyError, TypeError):
        return record.base


def title_of(folder: Path) -> str:
    """The title of a LoRA, read without its tensors. Raises BrokenFile, UnknownFormat, OSError."""
    given = plain_text(read_notes(folder).get("title"), LONGEST_TITLE)
    return given or title_in(read_tensor_table(find_file(folder))[0]) or folder.name


def fingerprint(folder: Path) -> str:
    """A text that changes with any file that the record is made from; empty without a LoRA file."""
    try:
        parts = (find_file(folder), folder / NOTES, folder / "previews")
    except (ModelFileError, OSError):
        return ""
    return " ".join([READING, parts[0].name, *(state_of(part) for part in parts)])


def unlisted(folder: Path) -> str:
    """A sentence on LoRA files beside the one that stands for the folder; empty where there are none, and
    where that one has the folder's name: the others are its versions then."""
    used = find_file(folder)
    there = (path for path in folder.glob("*.safetensors") if path.is_file())
    others = sorted(plain_name(path) for path in there if path != used and not path.name.startswith("."))
    if not others or used.stem == folder.name:
        return ""
    rest = f" and {len(others) - 1} more" if len(others) > 1 else ""
    return (
        f"{others[0]}{rest}. A folder counts as one LoRA, {plain_name(folder)} as {plain_name(used)}; put the"
        f" others beside the folder, then each gets its own."
    )


def move_file(path: Path, target: Path) -> None:
    """Rename a file, or a link so that it still leads to its file. Raises OSError."""
    if not path.is_symlink():
        path.rename(target)
        return
    target.symlink_to(path.parent.absolute() / path.readlink())
    path.unlink()


def state_of(path: Path) -> str:
    """Size and time of a file or folder; empty when there is none."""
    try:
        facts = path.stat()
    except OSError:
        return ""
    return f"{facts.st_size}:{facts.st_mtime_ns}"


def read_notes(folder: Path) -> dict[str, Any]:
    """The content of `training.json`; empty when it is missing or damaged."""
    try:
        with (folder / NOTES).open("rb") as file:
            content = file.read(LONGEST_NOTES + 1)
        data = json.loads(content.decode("utf-8")) if len(content) <= LONGEST_NOTES else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def write_notes(folder: Path, notes: Mapping[str, Any]) -> None:
    """Write `training.json`. Raises StoreError, OSError."""
    try:
        text = json_text(notes)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{NOTES} can't be written again.", "Repair or remove that file.") from error
    write_atomically(folder / NOTES, text)


def json_text(data: Mapping[str, Any], *, allow_nan: bool = True) -> str:
    """JSON as files of the library hold it, indented. Text that no encoding has stays escaped. Raises
    ValueError, RecursionError."""
    text = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=allow_nan)
    return (text if is_plain(text) else json.dumps(data, indent=2, allow_nan=allow_nan)) + "\n"


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
        return plain_text(notes["config"]["dataset"]["kind"], LONGEST_KIND)
    except (KeyError, TypeError):
        return ""


def tags_in(notes: Mapping[str, Any]) -> tuple[str, ...]:
    """The tags that people gave, in plain text and each once."""
    given = notes.get("tags")
    texts = [plain_text(tag, LONGEST_TAG) for tag in given[:MOST_TAGS]] if isinstance(given, list) else []
    return tuple(dict.fromkeys(filter(None, texts)))


def _previews(folder: Path) -> list[Path]:
    """The preview pictures, of very many the last ones."""
    pictures = (path for path in folder.glob("previews/*") if path.suffix.lower() in PICTURES)
    return sorted(path for path in pictures if is_plain(path.name))[-MOST_PREVIEWS:]


def draws_as(path: str, header: LoraHeader) -> bool:
    """Whether a file of the library changes pictures as that of `header`; a damaged one does not."""
    try:
        return header.draws_as(read_header(path))
    except (StudioError, OSError):
        return False


def free_path(path: Path) -> Path:
    """The path, or the first with a number at its end that is free and that Windows can have too."""
    candidate, number = path, 1
    while candidate.exists() or RESERVED.fullmatch(candidate.name):
        number += 1
        candidate = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return candidate
