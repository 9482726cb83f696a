"""Rows of the LoRAs, images and datasets in the folders. The folders are the truth; rows can be rebuilt.

A row's `fingerprint` names the state of the files it describes: unchanged files need not be read again.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Iterable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from lora_studio.access.visitor import Kind, visitor
from lora_studio.errors import StoreError
from lora_studio.records import DatasetRecord, ImageRecord, ListedLora, LoraRecord
from lora_studio.store.database import Database

logger = logging.getLogger(__name__)

NEWEST = "newest"
ORDERS = {
    NEWEST: "created_at DESC, slug",
    "name": "title COLLATE NOCASE, slug",
    "used": "(SELECT count(*) FROM image_loras WHERE image_loras.slug = loras.slug) DESC,"
    " created_at DESC, slug",
}
"""Orders of the list of LoRAs, in SQL."""
CHOICES = ("kind", "base", "family")
"""Facts of LoRAs that a list can be kept to; `tag` and `favourite` are the others."""

PICTURES, SHEETS, FAVOURITE = "pictures", "sheets", "favourite"
IMAGES = {
    "": "TRUE",
    PICTURES: "path NOT GLOB '*-grid-????????.png'",
    SHEETS: "path GLOB '*-grid-????????.png'",
    FAVOURITE: "id IN (SELECT id FROM favourite_images)",
}
"""Kinds of images that a list can be kept to, in SQL. Sheets of grids are told by their files' names."""

Record = TypeVar("Record", LoraRecord, ImageRecord, DatasetRecord)


class Library:
    """The library's rows, as far as the visitor may see them; fingerprints are of all. Raises StoreError."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._logged: set[str] = set()

    def put_lora(self, record: LoraRecord, fingerprint: str = "", preview: str = "") -> None:
        """Write a LoRA's row; `preview` is the picture that lists show. Another LoRA than the one that was
        called so before is not its owners'."""
        self.put_loras([(record, fingerprint, preview)])

    def put_loras(self, records: Iterable[tuple[LoraRecord, str, str]]) -> None:
        """Write the rows of several LoRAs, each with its fingerprint and preview, in one transaction."""
        rows = [
            (
                *(record.slug, record.id, record.created_at),
                *(_search_text(*_told(record)), fingerprint),
                *(_json(replace(record, metadata={})), record.title, preview),
                json.dumps(record.metadata, ensure_ascii=False),
            )
            for record, fingerprint, preview in records
        ]
        with self._database.write() as connection:
            for slug, content, *_ in rows:
                _keep_owners(connection, slug, content)
            connection.executemany(
                "INSERT OR REPLACE INTO loras"
                "(slug, id, created_at, search, fingerprint, record, title, preview, metadata)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                rows,
            )

    def lora(self, slug: str) -> LoraRecord:
        """A LoRA with its metadata. Raises StoreError."""
        seen, values = visitor().seen_rows(Kind.LORA, "slug")
        sql = f"SELECT record, metadata FROM loras WHERE slug = ? AND {seen}"
        rows = self._database.read(sql, (slug, *values))
        found = self._records(LoraRecord, rows)
        if not found:
            raise StoreError(f"There is no LoRA {slug[:64]!r} in the library.", "It may have been deleted.")
        return replace(found[0], metadata=_table(rows[0]["metadata"]))

    def loras(
        self, search: str = "", limit: int = -1, offset: int = 0, *, order: str = NEWEST, only: str = ""
    ) -> list[LoraRecord]:
        """LoRAs without metadata. All words of `search` must occur in title, slug, trigger word, tags or
        note; `order` is one of ORDERS; `only` keeps to those of a fact, as `kind=style`, `tag=cat` or
        `favourite`; a negative `limit` means all."""
        where, values = _where(search, *_kept_to(only, *visitor().seen_rows(Kind.LORA, "slug")))
        by = ORDERS.get(order, ORDERS[NEWEST])
        sql = f"SELECT record FROM loras WHERE {where} ORDER BY {by} LIMIT ? OFFSET ?"
        return self._records(LoraRecord, self._database.read(sql, (*values, limit, offset)))

    def count_loras(self, search: str = "", only: str = "") -> int:
        """The number of LoRAs that a search finds."""
        where, values = _where(search, *_kept_to(only, *visitor().seen_rows(Kind.LORA, "slug")))
        return int(self._database.read(f"SELECT count(*) FROM loras WHERE {where}", values)[0][0])

    def lora_choices(self) -> dict[str, list[str]]:
        """The values of each fact that the LoRAs have, in order."""
        seen, values = visitor().seen_rows(Kind.LORA, "slug")
        found = {
            name: f"SELECT DISTINCT json_extract(record, '$.{name}') AS value FROM loras WHERE {seen}"
            for name in CHOICES
        }
        tags = "SELECT DISTINCT value FROM loras, json_each(loras.record, '$.tags')"
        found["tag"] = f"{tags} WHERE {seen}"
        rows = {name: self._database.read(f"{sql} LIMIT 200", values) for name, sql in found.items()}
        return {name: sorted(row["value"] for row in some if row["value"]) for name, some in rows.items()}

    def listed_loras(self) -> list[ListedLora]:
        """All LoRAs by slug and title, newest first."""
        seen, values = visitor().seen_rows(Kind.LORA, "slug")
        sql = f"SELECT slug, title, created_at FROM loras WHERE {seen} ORDER BY created_at DESC, slug"
        return [ListedLora(**row) for row in self._database.read(sql, values)]

    def slugs_of(self, lora_id: str) -> list[str]:
        """The slugs of LoRAs with these tensors."""
        seen, values = visitor().seen_rows(Kind.LORA, "slug")
        sql = f"SELECT slug FROM loras WHERE id = ? AND {seen}"
        return [row["slug"] for row in self._database.read(sql, (lora_id, *values))]

    def lora_fingerprints(self) -> dict[str, str]:
        """Fingerprints of all LoRAs by slug."""
        rows = self._database.read("SELECT slug, fingerprint FROM loras")
        return {row["slug"]: row["fingerprint"] for row in rows}

    def lora_fingerprint(self, slug: str) -> str | None:
        """The fingerprint of a LoRA; None without a row."""
        rows = self._database.read("SELECT fingerprint FROM loras WHERE slug = ?", (slug,))
        return str(rows[0]["fingerprint"]) if rows else None

    def remove_lora(self, slug: str) -> None:
        self._database.change("DELETE FROM loras WHERE slug = ?", (slug,))

    def put_image(self, record: ImageRecord, fingerprint: str = "") -> None:
        """Write a file's row; files with the same content share their id."""
        self.put_images([(record, fingerprint)])

    def put_images(self, records: Iterable[tuple[ImageRecord, str]]) -> None:
        """Write the rows of several files with their fingerprints, in one transaction."""
        rows = [
            (
                *(record.path, record.id, record.created_at),
                *(_search_text(record.prompt, *record.lora_slugs), fingerprint, _json(record)),
            )
            for record, fingerprint in records
        ]
        with self._database.write() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO images(path, id, created_at, search, fingerprint, record)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                rows,
            )

    def image(self, image_id: str) -> ImageRecord:
        seen, values = visitor().seen_rows(Kind.IMAGE, "path")
        sql = f"SELECT record FROM images WHERE id = ? AND {seen} ORDER BY created_at DESC LIMIT 1"
        rows = self._database.read(sql, (image_id, *values))
        found = self._records(ImageRecord, rows)
        if not found:
            raise StoreError(f"There is no image {image_id[:64]!r}.", "It may have been deleted.")
        return found[0]

    def images(self, search: str = "", limit: int = 60, offset: int = 0, only: str = "") -> list[ImageRecord]:
        """Images, newest first, each content once. All words of `search` must occur in prompt or LoRA slugs;
        `only` is one of IMAGES, empty for all."""
        where, words = _images_where(search, only)
        sql = (  # walks from the newest one back, however many there are
            f"SELECT record FROM images AS shown WHERE {where} AND NOT EXISTS"
            f" (SELECT 1 FROM images AS other WHERE other.id = shown.id AND {where}"
            " AND (other.created_at, shown.path) > (shown.created_at, other.path))"
            " ORDER BY created_at DESC, path LIMIT ? OFFSET ?"
        )
        rows = self._database.read(sql, (*words, *words, limit, offset))
        return self._records(ImageRecord, rows)

    def images_with(self, slug: str, limit: int) -> list[ImageRecord]:
        """The newest images that a LoRA was used for, each content once."""
        seen, values = visitor().seen_rows(Kind.IMAGE, "path")
        sql = (
            "SELECT record, max(created_at) AS newest FROM image_loras JOIN images USING (path)"
            f" WHERE slug = ? AND {seen} GROUP BY id ORDER BY newest DESC, path LIMIT ?"
        )
        return self._records(ImageRecord, self._database.read(sql, (slug, *values, limit)))

    def count_images_with(self, slug: str) -> int:
        """The number of images that a LoRA was used for, each content once."""
        seen, values = visitor().seen_rows(Kind.IMAGE, "path")
        sql = f"SELECT count(DISTINCT id) FROM image_loras JOIN images USING (path) WHERE slug = ? AND {seen}"
        return int(self._database.read(sql, (slug, *values))[0][0])

    def count_images(self, search: str = "", only: str = "") -> int:
        """The number of images that a search finds, each content once."""
        where, words = _images_where(search, only)
        return int(self._database.read(f"SELECT count(DISTINCT id) FROM images WHERE {where}", words)[0][0])

    def images_of_seeds(self, seeds: Iterable[int]) -> list[ImageRecord]:
        """Images with one of these seeds, newest first."""
        wanted = tuple(set(seeds))
        marks = ", ".join("?" * len(wanted))
        seen, values = visitor().seen_rows(Kind.IMAGE, "path")
        rows = self._database.read(
            f"SELECT record FROM images WHERE json_extract(record, '$.seed') IN ({marks}) AND {seen}"
            " ORDER BY created_at DESC",
            (*wanted, *values),
        )
        return self._records(ImageRecord, rows)

    def image_paths(self, image_id: str) -> list[str]:
        """The files with this content that the visitor may change."""
        rows = self._database.read("SELECT path FROM images WHERE id = ? ORDER BY path", (image_id,))
        return [row["path"] for row in rows if visitor().owns(Kind.IMAGE, row["path"])]

    def image_fingerprints(self) -> dict[str, str]:
        """Fingerprints of all images by path."""
        rows = self._database.read("SELECT path, fingerprint FROM images")
        return {row["path"]: row["fingerprint"] for row in rows}

    def follow_images(self, folder: Path) -> None:
        """Let pictures keep their owners where their folder was elsewhere, as in a home that was moved."""
        with self._database.write() as connection:
            sql = "SELECT DISTINCT key FROM owners WHERE kind = 'image' AND substr(key, 1, ?) <> ?"
            here = str(folder / "x")[:-1]
            for (key,) in connection.execute(sql, (len(here), here)).fetchall():
                inside = key.replace("\\", "/").rpartition(f"/{folder.name}/")[2]
                if (path := folder / inside).is_file():
                    sql = "UPDATE OR IGNORE owners SET key = ? WHERE kind = 'image' AND key = ?"
                    connection.execute(sql, (str(path), key))

    def remove_images(self, paths: Iterable[str]) -> None:
        with self._database.write() as connection:
            connection.executemany("DELETE FROM images WHERE path = ?", [(path,) for path in paths])

    def put_dataset(self, record: DatasetRecord) -> None:
        self._database.change(
            "INSERT OR REPLACE INTO datasets(id, created_at, record) VALUES (?, ?, ?)",
            (record.id, record.created_at, _json(record)),
        )

    def dataset(self, dataset_id: str) -> DatasetRecord:
        """A set of pictures. Raises StoreError."""
        seen, values = visitor().seen_rows(Kind.DATASET, "id")
        rows = self._database.read(
            f"SELECT record FROM datasets WHERE id = ? AND {seen}", (dataset_id, *values)
        )
        found = self._records(DatasetRecord, rows)
        if not found:
            raise StoreError(
                f"There is no set of pictures {dataset_id[:64]!r}.",
                "It may have been deleted; upload it again.",
            )
        return found[0]

    def datasets(self) -> list[DatasetRecord]:
        """Sets of pictures, newest first."""
        seen, values = visitor().seen_rows(Kind.DATASET, "id")
        sql = f"SELECT record FROM datasets WHERE {seen} ORDER BY created_at DESC, id"
        rows = self._database.read(sql, values)
        return self._records(DatasetRecord, rows)

    def dataset_ids(self) -> list[str]:
        """The ids of all sets, whoever may see them."""
        return [row["id"] for row in self._database.read("SELECT id FROM datasets")]

    def remove_dataset(self, dataset_id: str) -> None:
        self._database.change("DELETE FROM datasets WHERE id = ?", (dataset_id,))

    def _records(self, cls: type[Record], rows: Iterable[sqlite3.Row]) -> list[Record]:
        """The records of readable rows. Each other row is logged once."""
        found = []
        for row in rows:
            try:
                found.append(_read(cls, row["record"]))
            except (ValueError, TypeError, AttributeError, RecursionError) as error:
                text = str(row["record"])[:80]
                if text not in self._logged:
                    self._logged.add(text)
                    logger.warning("a row of the library can't be read and is left out: %s (%s)", text, error)
        return found


def _keep_owners(connection: sqlite3.Connection, slug: str, content: str) -> None:
    """Leave a slug to its owners if its LoRA is the one that they had, or what came of it by a training."""
    connection.execute(
        "DELETE FROM owners WHERE kind = 'lora' AND key = :slug AND content NOT IN ('', :content)"
        " AND NOT (EXISTS (SELECT 1 FROM loras WHERE slug = :slug) AND EXISTS"
        " (SELECT 1 FROM jobs WHERE json_extract(config, '$.output.output_name') = :slug))",
        {"slug": slug, "content": content},
    )
    connection.execute("UPDATE owners SET content = ? WHERE kind = 'lora' AND key = ?", (content, slug))


def _told(record: LoraRecord) -> list[str]:
    """The texts that a LoRA is found by."""
    return [record.title, record.slug, record.trigger_word, *record.tags, record.note]


def _kept_to(only: str, seen: str, values: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """A condition for LoRAs of a fact that fulfil another one too, and its values. A fact that there is not
    keeps to none."""
    name, _, wanted = only.partition("=")
    if not only:
        return seen, values
    if name == "favourite":
        return f"json_extract(record, '$.favourite') AND {seen}", values
    if name == "tag":
        tagged = "EXISTS (SELECT 1 FROM json_each(record, '$.tags') WHERE value = ?)"
        return f"{tagged} AND {seen}", (wanted, *values)
    if name not in CHOICES:
        return "FALSE", ()
    return f"json_extract(record, '$.{name}') = ? AND {seen}", (wanted, *values)


def _images_where(search: str, only: str) -> tuple[str, tuple[str, ...]]:
    """A condition for images that the visitor may see, and its values."""
    where, words = _where(search, *visitor().seen_rows(Kind.IMAGE, "path"))
    return f"({where}) AND {IMAGES.get(only, 'FALSE')}", words


def _search_text(*parts: str) -> str:
    return " ".join(parts).casefold().encode("utf-8", "replace").decode()


def _where(search: str, seen: str, values: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """A condition for rows with all words of a search that fulfil another one too, and its values."""
    words = tuple(search.casefold().split()[:20])
    return " AND ".join([*["instr(search, ?)"] * len(words), seen]), (*words, *values)


def _json(record: Any) -> str:
    """The record as JSON; halves of a surrogate pair, which no encoder takes, become question marks."""
    return json.dumps(asdict(record), ensure_ascii=False).encode("utf-8", "replace").decode()


def _table(text: str) -> dict[str, str]:
    try:
        table = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return {str(key): str(value) for key, value in table.items()} if isinstance(table, dict) else {}


def _read(cls: type[Record], text: str) -> Record:
    """The record of a row; keys that a later version added are ignored."""
    names = {field.name for field in fields(cls)}
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in json.loads(text).items()
        if key in names
    }
    return cls(**values)
