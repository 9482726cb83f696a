"""Rows for what lies in the folders: LoRAs, images, datasets. The folders are the truth; rows can be rebuilt.

A row's `fingerprint` says which state of the files it describes: unchanged files need not be read again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, fields
from typing import Any, TypeVar

from lora_studio.errors import StoreError
from lora_studio.records import DatasetRecord, ImageRecord, LoraRecord
from lora_studio.store.database import Database

Record = TypeVar("Record", LoraRecord, ImageRecord, DatasetRecord)


class Library:
    """Raises StoreError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put_lora(self, record: LoraRecord, fingerprint: str = "") -> None:
        with self._database.write() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO loras(slug, id, created_at, search, fingerprint, record)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (
                    *(record.slug, record.id, record.created_at),
                    *(
                        _search_text(record.title, record.slug, record.trigger_word),
                        fingerprint,
                        _json(record),
                    ),
                ),
            )

    def lora(self, slug: str) -> LoraRecord:
        rows = self._database.read("SELECT record FROM loras WHERE slug = ?", (slug,))
        if not rows:
            raise StoreError(f"There is no LoRA {slug[:64]!r} in the library.", "It may have been deleted.")
        return _read(LoraRecord, rows[0]["record"])

    def loras(self, search: str = "") -> list[LoraRecord]:
        """Newest first. All words of `search` must occur in title, slug or trigger word."""
        where, words = _where(search)
        sql = f"SELECT record FROM loras WHERE {where} ORDER BY created_at DESC, slug"
        return [_read(LoraRecord, row["record"]) for row in self._database.read(sql, words)]

    def lora_fingerprints(self) -> dict[str, str]:
        """By slug."""
        rows = self._database.read("SELECT slug, fingerprint FROM loras")
        return {row["slug"]: row["fingerprint"] for row in rows}

    def remove_lora(self, slug: str) -> None:
        with self._database.write() as connection:
            connection.execute("DELETE FROM loras WHERE slug = ?", (slug,))

    def count_loras(self) -> int:
        return int(self._database.read("SELECT count(*) FROM loras")[0][0])

    def put_image(self, record: ImageRecord, fingerprint: str = "") -> None:
        """One row for a file; files with the same content share their id."""
        search = _search_text(record.prompt, *record.lora_slugs)
        with self._database.write() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO images(path, id, created_at, search, fingerprint, record)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (record.path, record.id, record.created_at, search, fingerprint, _json(record)),
            )

    def image(self, image_id: str) -> ImageRecord:
        rows = self._database.read(
            "SELECT record FROM images WHERE id = ? ORDER BY created_at DESC LIMIT 1", (image_id,)
        )
        if not rows:
            raise StoreError(f"There is no image {image_id[:64]!r}.", "It may have been deleted.")
        return _read(ImageRecord, rows[0]["record"])

    def images(self, search: str = "", limit: int = 60, offset: int = 0) -> list[ImageRecord]:
        """Newest first, each content once. All words of `search` must occur in prompt or LoRA slugs."""
        where, words = _where(search)
        sql = (
            f"SELECT record, max(created_at) AS newest FROM images WHERE {where} GROUP BY id"
            " ORDER BY newest DESC, path LIMIT ? OFFSET ?"
        )
        rows = self._database.read(sql, (*words, limit, offset))
        return [_read(ImageRecord, row["record"]) for row in rows]

    def images_of_seeds(self, seeds: Iterable[int]) -> list[ImageRecord]:
        """All with one of these seeds, newest first."""
        wanted = tuple(set(seeds))
        marks = ", ".join("?" * len(wanted))
        rows = self._database.read(
            f"SELECT record FROM images WHERE json_extract(record, '$.seed') IN ({marks})"
            " ORDER BY created_at DESC",
            wanted,
        )
        return [_read(ImageRecord, row["record"]) for row in rows]

    def image_paths(self, image_id: str) -> list[str]:
        """All files with this content."""
        rows = self._database.read("SELECT path FROM images WHERE id = ? ORDER BY path", (image_id,))
        return [row["path"] for row in rows]

    def image_fingerprints(self) -> dict[str, str]:
        """By path."""
        rows = self._database.read("SELECT path, fingerprint FROM images")
        return {row["path"]: row["fingerprint"] for row in rows}

    def remove_images(self, paths: Iterable[str]) -> None:
        with self._database.write() as connection:
            connection.executemany("DELETE FROM images WHERE path = ?", [(path,) for path in paths])

    def count_images(self) -> int:
        return int(self._database.read("SELECT count(DISTINCT id) FROM images")[0][0])

    def put_dataset(self, record: DatasetRecord) -> None:
        with self._database.write() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO datasets(id, created_at, record) VALUES (?, ?, ?)",
                (record.id, record.created_at, _json(record)),
            )

    def dataset(self, dataset_id: str) -> DatasetRecord:
        rows = self._database.read("SELECT record FROM datasets WHERE id = ?", (dataset_id,))
        if not rows:
            raise StoreError(
                f"There is no set of pictures {dataset_id[:64]!r}.",
                "It may have been deleted; upload it again.",
            )
        return _read(DatasetRecord, rows[0]["record"])

    def datasets(self) -> list[DatasetRecord]:
        """Newest first."""
        rows = self._database.read("SELECT record FROM datasets ORDER BY created_at DESC, id")
        return [_read(DatasetRecord, row["record"]) for row in rows]

    def remove_dataset(self, dataset_id: str) -> None:
        with self._database.write() as connection:
            connection.execute("DELETE FROM datasets WHERE id = ?", (dataset_id,))


def _search_text(*parts: str) -> str:
    return " ".join(parts).casefold()


def _where(search: str) -> tuple[str, tuple[str, ...]]:
    words = tuple(search.casefold().split()[:20])
    return " AND ".join(["instr(search, ?)"] * len(words)) or "TRUE", words


def _json(record: Any) -> str:
    return json.dumps(asdict(record), ensure_ascii=False)


def _read(cls: type[Record], text: str) -> Record:
    """The record as it was put; keys that a later version added are ignored."""
    names = {field.name for field in fields(cls)}
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in json.loads(text).items()
        if key in names
    }
    return cls(**values)
