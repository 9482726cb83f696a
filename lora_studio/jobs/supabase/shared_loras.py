"""LoRAs that other machines have put into the Supabase project: listing and fetching."""

from __future__ import annotations

import hashlib
import logging
import re
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from lora_studio.errors import BrokenFile, StoreError
from lora_studio.files import disk_errors, replacing
from lora_studio.lora.file.lora_files import LONGEST_TITLE, LONGEST_TRIGGER, MOST_DIM
from lora_studio.parsing.plain_text import LONGEST_NAME, plain_text, plain_words
from lora_studio.parsing.slugs import SLUG
from lora_studio.store.supabase_client import Supabase

logger = logging.getLogger(__name__)

LARGEST_BYTES = 4 << 30
COLUMNS = (
    "id,name,slug,family,base_model,trigger_word,network_dim,tensor_sha256,created_at,"
    "artifact_bucket,artifact_path,artifact_bytes,artifact_sha256"
)


@dataclass(frozen=True, kw_only=True)
class SharedLora:
    """A LoRA over there. `tensor_hash` is that of `LoraRecord.id`, empty when unknown."""

    id: str
    name: str
    slug: str
    family: str
    base: str
    trigger_word: str
    network_dim: int
    size_bytes: int
    created_at: float
    tensor_hash: str = ""


def list_team(remote: Supabase, machine: str, here: Collection[str]) -> tuple[SharedLora, ...]:
    """Shared LoRAs with a file, newest first, but this machine's and those `here` (tensor hashes)."""
    rows = remote.select(
        "loras",
        COLUMNS,
        order="created_at",
        status="ready",
        worker_id__neq=machine,
        artifact_path__not_null=True,
    )
    loras = (lora for row in rows if (lora := _readable(row)))
    return tuple(lora for lora in loras if not lora.tensor_hash or lora.tensor_hash not in here)


def download(remote: Supabase, lora_id: str, folder: Path) -> Path:
    """Fetch a LoRA's file into `folder`, under its slug. The file appears only when size and hash are those
    of its row; its content is checked by `Gallery.import_lora`. Raises StoreError, BrokenFile,
    MirrorError."""
    try:
        wanted = str(uuid.UUID(lora_id))
    except ValueError:
        raise StoreError("There is no such LoRA in Supabase.", "Pick one from the list.") from None
    rows = remote.select("loras", COLUMNS, id=wanted, status="ready", artifact_path__not_null=True)
    if not rows:
        raise StoreError("This LoRA is not in Supabase any more.", "Reload the list.")
    row = {**rows[0], "name": _name(rows[0])}
    if fault := _fault(row):
        raise BrokenFile(f"The LoRA {row['name']} can't be fetched: {fault}.", "Ask whoever put it there.")
    target = folder / f"{row['slug']}.safetensors"
    with disk_errors(f"The LoRA {row['name']}", "written"), replacing(target) as file:
        _receive(remote, row, file)
    return target


def _receive(remote: Supabase, row: Mapping[str, Any], file: BinaryIO) -> None:
    size, received, digest = int(row["artifact_bytes"]), 0, hashlib.sha256()
    for block in remote.download(row["artifact_bucket"], row["artifact_path"]):
        received += len(block)
        if received > size:
            break
        digest.update(block)
        file.write(block)
    if received != size or digest.hexdigest() != row["artifact_sha256"]:
        raise BrokenFile(
            f"The file of {row['name']} is not the one that was put into Supabase.",
            "Try again, or ask whoever put it there.",
            path=file.name,
        )


def _readable(row: Mapping[str, Any]) -> SharedLora | None:
    """The LoRA of a row; None for a row that can't be used: rows are written by others."""
    try:
        return None if _fault(row) else _team_lora(row)
    except (ValueError, TypeError, ArithmeticError) as error:
        logger.info("a LoRA of the team is not listed: %s", str(error)[:200])
        return None


def _name(row: Mapping[str, Any]) -> str:
    names = (plain_text(row[column], LONGEST_TITLE) for column in ("name", "slug"))
    return next(filter(None, names), "without a name")


def _fault(row: Mapping[str, Any]) -> str:
    """The fault in a row's facts about its file, which others wrote; empty without one."""
    path = str(row["artifact_path"] or "")
    if not re.fullmatch(r"[\w-]+/[\w-]+\.safetensors", path) or row["artifact_bucket"] != "loras":
        return "it is no .safetensors file of a studio"
    if not SLUG.fullmatch(str(row["slug"])):
        return "its name is not a studio's"
    size = row["artifact_bytes"]
    if not isinstance(size, int) or not 0 < size <= LARGEST_BYTES:
        return f"it is larger than {LARGEST_BYTES >> 30} GB, or its size is unknown"
    if not re.fullmatch(r"[0-9a-f]{64}", str(row["artifact_sha256"] or "")):
        return "its hash is unknown"
    return ""


def _team_lora(row: Mapping[str, Any]) -> SharedLora:
    return SharedLora(
        id=str(row["id"]),
        name=_name(row),
        slug=str(row["slug"]),
        family=plain_text(row["family"], LONGEST_NAME),
        base=plain_text(row["base_model"], LONGEST_NAME),
        trigger_word=plain_words(row["trigger_word"], LONGEST_TRIGGER),
        network_dim=min(max(int(row["network_dim"] or 0), 0), MOST_DIM),
        size_bytes=int(row["artifact_bytes"]),
        created_at=datetime.fromisoformat(row["created_at"]).timestamp(),
        tensor_hash=str(row["tensor_sha256"] or ""),
    )
