"""The named endpoints of the edits of a set of pictures: made, undone, redone, gone back to."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from lora_studio.data.edits.edit_log import LONGEST_NAME, LONGEST_WHY, EditEntry
from lora_studio.data.edits.picture_edits import edit_dict, edit_of
from lora_studio.errors import DatasetError
from lora_studio.studio import Studio
from lora_studio.ui.client_input.validate import safe_id, text
from lora_studio.ui.endpoints.schemas import DatasetEdits, EditFacts

MOST_EDITS = 5000
"""Edits of one call: each picture of the largest set several times."""


class EditEndpoints:
    """Endpoints of edits. Each public method is one endpoint of the same name."""

    def __init__(self, studio: Studio) -> None:
        self._datasets = studio.datasets

    def list_edits(self, dataset_id: str) -> DatasetEdits:
        """The edits that hold in a set of pictures, oldest first, what can be redone, and named versions.

        Args:
            dataset_id: From upload_dataset or list_datasets.
        """
        record = self._datasets.get(_known(dataset_id))
        history = self._datasets.edits(record.id)
        redo = history.redoable
        return DatasetEdits(
            dataset_id=record.id,
            images=record.images,
            captions=record.captions,
            entries=[_facts(entry) for entry in history.line()],
            redo=_facts(redo) if redo else None,
            head=history.head,
            versions=dict(history.versions),
        )

    def edit_pictures(
        self, dataset_id: str, edits: list[dict[str, Any]], why: str = "", after: str = ""
    ) -> DatasetEdits:
        """Change pictures and captions of a set at once, all or none; its files stay, and undo_edit takes it
        back. Answers as list_edits does.

        Args:
            dataset_id: From upload_dataset or list_datasets.
            edits: Each like {"edit": "rotate", "picture": "a.png", "degrees": 90}; see docs/datasets.md.
            why: A few words on the reason, kept with them.
            after: The head of list_edits that you chose the edits on: they are refused where somebody else
                edited the same pictures since. Empty: whatever holds.
        """
        if not isinstance(edits, list) or len(edits) > MOST_EDITS:
            raise DatasetError(f"edits: a list of up to {MOST_EDITS:,} edits is needed.")
        checked = [edit_of(edit) for edit in edits]
        reason = text(why, "why", longest=LONGEST_WHY)
        self._datasets.edit(_known(dataset_id), checked, reason, after=_state(after))
        return self.list_edits(dataset_id)

    def undo_edit(self, dataset_id: str, after: str = "") -> DatasetEdits:
        """Take back the last edits of a set. Answers as list_edits does.

        Args:
            dataset_id: From upload_dataset or list_datasets.
            after: The head of list_edits that you saw: refused where another one holds now. Empty: whatever
                holds.
        """
        self._datasets.undo_edit(_known(dataset_id), after=_state(after))
        return self.list_edits(dataset_id)

    def redo_edit(self, dataset_id: str, after: str = "") -> DatasetEdits:
        """Bring back the edits of a set that were undone last. Answers as list_edits does.

        Args:
            dataset_id: From upload_dataset or list_datasets.
            after: The head of list_edits that you saw: refused where another one holds now. Empty: whatever
                holds.
        """
        self._datasets.redo_edit(_known(dataset_id), after=_state(after))
        return self.list_edits(dataset_id)

    def name_version(self, dataset_id: str, name: str, after: str = "") -> DatasetEdits:
        """Name the edits that hold in a set, to go back to them later. Answers as list_edits does.

        Args:
            dataset_id: From upload_dataset or list_datasets.
            name: A name; the version that had it loses it.
            after: The head of list_edits that you saw: refused where another one holds now. Empty: whatever
                holds.
        """
        named = text(name, "name", longest=LONGEST_NAME)
        self._datasets.name_version(_known(dataset_id), named, after=_state(after))
        return self.list_edits(dataset_id)

    def go_to_version(self, dataset_id: str, version: str, after: str = "") -> DatasetEdits:
        """Let a version of a set hold. Answers as list_edits does.

        Args:
            dataset_id: From upload_dataset or list_datasets.
            version: A version's name, the id of an entry, or originals.
            after: The head of list_edits that you saw: refused where another one holds now. Empty: whatever
                holds.
        """
        target = text(version, "version", longest=LONGEST_NAME)
        self._datasets.go_to_version(_known(dataset_id), target, after=_state(after))
        return self.list_edits(dataset_id)


def _known(dataset_id: Any) -> str:
    return safe_id(dataset_id, "set of pictures")


def _state(after: Any) -> str:
    return text(after, "after", longest=LONGEST_NAME)


def _facts(entry: EditEntry) -> EditFacts:
    return EditFacts(
        id=entry.id,
        time=datetime.fromtimestamp(entry.time, UTC).isoformat(timespec="seconds"),
        why=entry.why,
        edits=[edit_dict(edit) for edit in entry.edits],
    )
