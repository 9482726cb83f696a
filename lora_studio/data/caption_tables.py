"""Captions of many pictures in one file: metadata.jsonl and metadata.csv of Hugging Face's image folders,
captions.csv, captions.json, and the JSON of sd-scripts' fine-tuning."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from lora_studio.data.captions import filled_lines
from lora_studio.data.pixels.picture_pixels import ENDINGS as PICTURE_ENDINGS
from lora_studio.data.pixels.picture_pixels import HEIC_ENDINGS
from lora_studio.errors import DatasetError
from lora_studio.files import read_errors
from lora_studio.parsing.archives import harmless_parts
from lora_studio.parsing.text_encodings import readings

ENDINGS = (".jsonl", ".csv", ".tsv", ".json")
KNOWN = (
    *("metadata.jsonl", "metadata.csv", "captions.jsonl", "captions.csv", "captions.tsv", "captions.json"),
    *("meta_cap.json", "meta_lat.json", "metadata.json"),
)
"""Names of tables that are looked for in a folder, in this order: files of other names may be anything."""
FILE_COLUMNS = ("file_name", "filename", "file", "image", "image_file", "image_path", "path", "img", "name")
TEXT_COLUMNS = ("text", "caption", "prompt", "description", "captions", "tags")
PICTURES = PICTURE_ENDINGS | HEIC_ENDINGS
MOST_BYTES = 20_000_000
MOST_ENTRIES = 200_000
LONGEST_CAPTION = 64_000


def is_table(name: str) -> bool:
    return name.lower().endswith(ENDINGS)


def read_table(name: str, content: bytes) -> dict[tuple[str, ...], str]:
    """Captions by the path of their picture, as harmless parts, without empty ones. Raises DatasetError for a
    file that is no such table."""
    if len(content) > MOST_BYTES:
        raise _no_table(name, "it is too large")
    found = readings(content)
    if not found:
        raise _no_table(name, "it is no text")
    text, lower = found[0].text, name.lower()
    try:
        if lower.endswith(".json"):
            entries = _of_json(json.loads(text))
        elif lower.endswith(".jsonl"):
            entries = _of_rows(json.loads(line) for line in _lines(text) if line.strip())
        else:
            entries = _of_csv(text, "\t" if lower.endswith(".tsv") else "")
    except (ValueError, RecursionError, csv.Error) as error:
        raise _no_table(name, "it can't be read") from error
    captions = {harmless_parts(file): caption.strip() for file, caption in entries}
    captions = {parts: caption for parts, caption in captions.items() if parts and caption}
    if not captions:
        raise _no_table(name, "it doesn't say which picture has which caption")
    return captions


def caption_of(entry: Mapping[str, Any]) -> str:
    """Caption and tags of an entry, one behind the other; each line of the caption gets the tags."""
    caption, tags = _text(entry.get("caption")), " ".join(_text(entry.get("tags")).split("\n"))
    lines = filled_lines(caption) or [""]
    return "\n".join(", ".join(part for part in (line, tags.strip()) if part) for line in lines)


def folder_captions(folder: Path) -> tuple[str, dict[str, str]]:
    """The first table of captions in a folder, or of the folder above for pictures in this one: its name, and
    captions by the picture's name in small letters, with or without ending. Raises DatasetError."""
    for place, below in ((folder, ()), (folder.parent, (folder.name,))):
        for name in KNOWN:
            path = place / name
            with read_errors(path, DatasetError):
                content = path.read_bytes() if path.is_file() else None
            if content is None:
                continue
            try:
                table = read_table(name, content)
            except DatasetError:
                if place is not folder:
                    continue
                raise
            fitting = {parts[-1]: text for parts, text in table.items() if parts[:-1][-1:] in ((), below)}
            if fitting and (place is folder or any(parts[:-1] for parts in table)):
                return name, by_spelling(fitting.items())
    return "", {}


def by_spelling(captions: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Captions by the picture's name in small letters, as it is given and without a picture's ending; what is
    given goes first, and of two the later one. The `.v1` of `fox.v1` is no ending."""
    given = {file.casefold(): text for file, text in captions}
    paths = ((PurePosixPath(file), text) for file, text in given.items())
    stems = {path.stem: text for path, text in paths if path.suffix in PICTURES}
    return stems | given


def _of_json(data: Any) -> list[tuple[str, str]]:
    if isinstance(data, list):
        return _of_rows(data)
    if not isinstance(data, dict):
        raise ValueError("neither a list nor a mapping")
    if len(data) == 1 and isinstance(inner := next(iter(data.values())), list):
        return _of_rows(inner)  # {"images": [...]}
    return [(str(key), caption) for key, value in data.items() if (caption := _caption(value))]


def _caption(value: Any) -> str:
    if not isinstance(value, Mapping):
        return _text(value)
    return caption_of(value) or _column(value, TEXT_COLUMNS)


def _of_rows(rows: Iterable[Any]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for row in rows:
        if len(found) >= MOST_ENTRIES:
            raise ValueError("too many entries")
        if isinstance(row, Mapping) and (file := _column(row, FILE_COLUMNS)):
            caption = caption_of(row) if "caption" in row else _column(row, TEXT_COLUMNS)
            found.append((file, caption))
    return found


def _column(row: Mapping[Any, Any], names: Iterable[str]) -> str:
    """The text of the first of these columns that has one, whatever the case of the column's name."""
    plain = {str(key).strip().lower(): value for key, value in row.items()}
    return next((text for name in names if (text := _text(plain.get(name)).strip())), "")


def _text(value: Any) -> str:
    """A text cut to LONGEST_CAPTION; a list of tags joined with commas; empty for anything else."""
    if isinstance(value, list):
        value = ", ".join(part.strip() for part in value if isinstance(part, str) and part.strip())
    return value[:LONGEST_CAPTION] if isinstance(value, str) else ""


def _lines(text: str) -> io.StringIO:
    """The lines of a text. Other line separators, which `splitlines` counts, are letters of captions."""
    return io.StringIO(text, newline=None)


def _of_csv(text: str, delimiter: str) -> list[tuple[str, str]]:
    """(file, caption) of each row, with or without a row of names. Raises ValueError for other rows."""
    first = text.split("\n", 1)[0]
    delimiter = delimiter or max(",;\t|", key=first.count)
    rows = [row for row in csv.reader(_lines(text), delimiter=delimiter) if row]
    if not rows:
        return []
    head = [cell.strip().lower() for cell in rows[0]]
    if set(head) & set(FILE_COLUMNS) and set(head) & set(TEXT_COLUMNS):
        return _of_rows(dict(zip(head, row, strict=False)) for row in rows[1:])
    if not PurePosixPath(rows[0][0]).suffix:
        raise ValueError("no columns that say file and caption")
    return [(row[0].strip(), delimiter.join(row[1:]).strip()) for row in rows[:MOST_ENTRIES] if len(row) > 1]


def _no_table(name: str, why: str) -> DatasetError:
    return DatasetError(
        f"{name} is no table of captions: {why}.",
        'It may be JSON like {"picture.png": "a dog"}, or CSV with the columns file_name and text.',
        path=name,
    )
