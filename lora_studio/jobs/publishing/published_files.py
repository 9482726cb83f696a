"""A LoRA's files on the Hub: itself without private metadata, its card, the card's pictures as pixels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lora_studio.files import copy_atomically
from lora_studio.lora.file.tensor_table import read_tensor_table
from lora_studio.lora.inspection.private_metadata import PrivateFact, find_private
from lora_studio.lora.library_card import README, card_of
from lora_studio.lora.repair.repair_request import RepairRequest
from lora_studio.records import LoraRecord

PREVIEW = re.compile(r"\]\((previews/[\w.%-]{1,200})\)", re.ASCII)
"""A picture of the folder that a card shows. Its description, which people write, may name any."""
FORMATS = ("PNG", "JPEG", "WEBP")
"""Formats of previews: of what else may lie there, nothing is opened."""


@dataclass(frozen=True, kw_only=True)
class PublishedFile:
    """A file on the Hub: its path there, and its size in bytes; the LoRA's before its metadata is cleaned."""

    path: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class PublishPlan:
    """The files that would go up for a LoRA, and the private things in its metadata that would stay here."""

    files: tuple[PublishedFile, ...]
    private: tuple[PrivateFact, ...]

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


def plan_files(record: LoraRecord) -> PublishPlan:
    """The files that would go up. Raises BrokenFile, UnknownFormat, OSError."""
    file, card = Path(record.path), card_of(Path(record.path).parent)
    files = [
        PublishedFile(path=file.name, size_bytes=file.stat().st_size),
        PublishedFile(path=README, size_bytes=len(card.encode("utf-8"))),
    ]
    pictures = [(name, file.parent / name) for name in shown_pictures(card, file.parent)]
    files += [PublishedFile(path=name, size_bytes=path.stat().st_size) for name, path in pictures]
    return PublishPlan(files=tuple(files), private=tuple(find_private(read_tensor_table(file)[0])))


def write_files(record: LoraRecord, folder: Path) -> list[Path]:
    """Write the files below `folder`, the LoRA first. Raises StudioError, OSError."""
    from lora_studio.lora.repair.repaired_file import repair_file

    file, card = Path(record.path), card_of(Path(record.path).parent)
    if find_private(read_tensor_table(file)[0]):
        repair_file(file, RepairRequest(strip_private=True), folder / file.name)
    else:
        copy_atomically(file, folder / file.name)
    (folder / README).write_text(card, "utf-8")
    shown = shown_pictures(card, file.parent)
    written = [name for name in shown if _write_pixels(file.parent / name, folder / name)]
    return [folder / name for name in (file.name, README, *written)]


def shown_pictures(card: str, folder: Path) -> Sequence[str]:
    """The pictures of a LoRA's folder on its card, each once, as far as they are there."""
    return [name for name in dict.fromkeys(PREVIEW.findall(card)) if (folder / name).is_file()]


def _write_pixels(picture: Path, target: Path) -> bool:
    """Write a picture anew without what it says beside its pixels; False for one that can't be read."""
    from PIL import Image

    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with Image.open(picture, formats=FORMATS) as opened:
            pixels = opened.convert("RGB")
            pixels.info = {}
            pixels.save(target)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        target.unlink(missing_ok=True)
        return False
    return True
