"""Pictures that people like, by the hash of their content: that outlives a new reading of the folders."""

from __future__ import annotations

from lora_studio.access.visitor import Kind, visitor
from lora_studio.errors import StoreError
from lora_studio.store.database import Database
from lora_studio.store.library import Library


def mark_image(database: Database, image_id: str, favourite: bool) -> None:
    """Make an own picture a favourite, or not any more. Raises StoreError, NotAllowed."""
    library = Library(database)
    record, paths = library.image(image_id), library.image_paths(image_id)
    visitor().must_own(Kind.IMAGE, paths[0] if paths else record.path)
    sql = "INSERT OR IGNORE INTO favourite_images(id) VALUES (?)"
    database.change(sql if favourite else "DELETE FROM favourite_images WHERE id = ?", (image_id,))


def is_favourite(database: Database, image_id: str) -> bool:
    """Whether a picture is one. False where the database can't say."""
    try:
        return bool(database.read("SELECT 1 FROM favourite_images WHERE id = ?", (image_id,)))
    except StoreError:
        return False
