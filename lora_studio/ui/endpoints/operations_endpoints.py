"""The named endpoints of whoever runs the studio. All are for admins."""

from __future__ import annotations

from typing import Literal

from lora_studio.studio import Studio
from lora_studio.ui.client_input.validate import text
from lora_studio.ui.endpoints.schemas import CleanedStorage, FindingFacts, StorageFacts

Cleanable = Literal["checkpoints", "caches", "trash"]


class OperationsEndpoints:
    """Endpoints of the Studio tab. Each public method is one endpoint of the same name."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def check_studio(self) -> list[FindingFacts]:
        """Check the installation: packages, folders, disk, memory, database, device, the Hub, Supabase.

        Returns:
            Findings, each with its state (ok, off or problem) and what to do about it.
        """
        return [
            FindingFacts(what=finding.what, state=finding.state, said=finding.said, advice=finding.advice)
            for finding in self._studio.check_up.findings()
        ]

    def list_storage(self) -> list[StorageFacts]:
        """The disk that the studio takes, by kind, and what a clean-up of that kind would remove."""
        return [
            StorageFacts(
                kind=use.kind.name,
                title=use.kind.title,
                bytes=use.bytes,
                files=use.files,
                freed_bytes=use.freed_bytes,
                freed_files=use.freed_files,
            )
            for use in self._studio.check_up.storage()
        ]

    def clean_up(self, kind: Cleanable) -> CleanedStorage:
        """Remove what can be made again or was deleted already, for good; list_storage says before how much.

        Args:
            kind: checkpoints (older than a week, of trainings that have ended), caches, or trash.
        """
        name = text(kind, "kind")
        files, freed = self._studio.check_up.clean_up(name)
        return CleanedStorage(kind=name, files=files, bytes=freed)
