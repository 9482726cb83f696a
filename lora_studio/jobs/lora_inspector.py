"""The inspection of LoRA files, of the library and of others, alone or on a base model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_studio.errors import FamilyMismatch, ModelFileError
from lora_studio.families.base_files.locate import find_base
from lora_studio.gallery import Gallery
from lora_studio.jobs.action_locks import ActionLocks
from lora_studio.lora.file.lora_files import find_file
from lora_studio.settings import Settings

if TYPE_CHECKING:
    from lora_studio.lora.inspection.lora_report import LoraReport


@dataclass(frozen=True)
class LoraInspector:
    """Answers on LoRA files, for page, API and command line. One file is looked at at a time."""

    settings: Settings
    gallery: Gallery
    turns: ActionLocks

    def inspect(self, slug: str, base: str = "") -> LoraReport:
        """Report on a LoRA of the library. Raises StoreError, ModelFileError, DeviceBusy."""
        return self.inspect_file(self.file_of(slug), base)

    def inspect_file(self, path: Path, base: str = "") -> LoraReport:
        """Report on a file; with `base`, also measured on that base. Raises BrokenFile, UnknownFormat,
        FamilyMismatch, ModelFileError, DeviceBusy."""
        with self.turns.take("inspect"):
            return inspect_on(path, base, self.settings)

    def file_of(self, slug: str) -> Path:
        """The file of a LoRA of the library. Raises StoreError."""
        path = Path(self.gallery.lora(slug).path)
        return path if path.is_file() else find_file(path)


def inspect_on(path: Path, base: str, settings: Settings) -> LoraReport:
    """Report on a file; with `base`, also measured on that base. Raises BrokenFile, UnknownFormat,
    FamilyMismatch, ModelFileError."""
    from lora_studio.lora.inspection.file_report import ABOUT_BASES, inspect_file

    report = inspect_file(path)
    if not base:
        return report
    from lora_studio.lora.inspection.rounding import measure_on_base

    measured = measure_on_base(path, _layers_of(base, settings), base)
    if not measured.layers:
        made_for = f" It was made for {report.family_title}." if report.family_title else ""
        raise FamilyMismatch(
            f"{report.name} has no layer that fits the base model “{base}”.{made_for}",
            "Name the base it was made for, or none.",
            path=path,
        )
    notes = tuple(note for note in report.notes if note not in ABOUT_BASES)
    return replace(report, on_base=measured, notes=notes)


def _layers_of(base: str, settings: Settings) -> dict[str, Any]:
    from lora_studio.families import family_of
    from lora_studio.generation.lora_lookup import layers_of

    found = find_base(base, settings)
    if found.layout == "hub":
        raise ModelFileError(
            f"The base model “{base}” isn't on this machine.", "Draw one picture with it, which fetches it."
        )
    return layers_of(family_of(found).load().models())
