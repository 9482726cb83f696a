"""A set of pictures as edited, as a ZIP to be fetched."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path

from lora_studio.access.roles import Role
from lora_studio.access.visitor import Kind, visitor
from lora_studio.data.training_set.dataset_export import ExportedSet
from lora_studio.files import check_room
from lora_studio.parsing.file_names import portable_name
from lora_studio.studio import Studio


def packed_set(
    studio: Studio, dataset_id: str, *, repeats: int = 1, class_tokens: str = "", trigger: str = ""
) -> tuple[Path, ExportedSet]:
    """A ZIP of a set in Kohya's layout among the uploads, which are cleared by themselves; it is the
    visitor's. Raises DatasetError, StoreError; NotAllowed, DeviceBusy."""
    visitor().needs(Role.CREATOR)
    record, uploads = studio.datasets.get(dataset_id), studio.settings.uploads
    check_room(uploads, "The ZIP", settings=studio.settings)
    folder = uploads / secrets.token_hex(20)
    target = folder / f"{portable_name(record.name, 'pictures')}.zip"
    with studio.turns.take("upload"):
        try:
            export = studio.datasets.export(
                record.id, target, repeats=repeats, class_tokens=class_tokens, trigger_word=trigger
            )
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    visitor().claims(Kind.UPLOAD, f"{folder.name}/{target.name}")
    return target, export
