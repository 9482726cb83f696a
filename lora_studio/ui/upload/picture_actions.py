"""The actions of the buttons and fields at the pictures of a set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from lora_studio.errors import DatasetError
from lora_studio.records import DatasetRecord
from lora_studio.studio import Studio
from lora_studio.ui import picture_sets
from lora_studio.ui.checks import check_card
from lora_studio.ui.client_input import deleted_elsewhere
from lora_studio.ui.client_input.validate import safe_id, text, whole
from lora_studio.ui.upload import picture_set
from lora_studio.ui.upload.picture_set import FIRST_SHOWN, SetView
from lora_studio.ui.upload.training_summary import resolution
from lora_studio.ui.widgets.cards import dataset_edits

EDITS_JS = Path(__file__).with_name("edits.js").read_text("utf-8")
LONGEST_ORDER = 60
PARTS_JS = Path(picture_sets.__file__).parent
PICTURES_JS = "\n".join(
    path.read_text("utf-8")
    for path in (PARTS_JS / "crop.js", PARTS_JS / "picture_keys.js", Path(__file__).with_name("pictures.js"))
)


@dataclass(frozen=True, kw_only=True)
class SetActions:
    """Handlers of the page's events. `dataset_id`, `base` and `typed` (a resolution) are as the browser sent
    them; but for `caption` and `mark_small` they give values for `picture_set.shown`."""

    studio: Studio

    def view(self, base: str, typed: Any, event: gr.EventData | None = None) -> SetView:
        """The view of a set for a base and a resolution, as the browser sent them. A click tells how many
        pictures its page shows, and in which order."""
        limit = whole(getattr(event, "limit", None), "limit") or 0
        order = text(getattr(event, "order", None), "order", longest=LONGEST_ORDER)
        size = resolution(base, typed, self.studio.settings)
        return SetView(limit=max(FIRST_SHOWN, limit), resolution=size, order=order)

    def choose(self, dataset_id: str | None, base: str, typed: Any) -> Any:
        if not dataset_id:  # Escape in the list, or its text removed: no other choice was made
            return gr.skip()
        return picture_set.shown(self.studio, self._set(dataset_id), self.view(base, typed))

    def leave(self) -> list[Any]:
        """Show no set; the one that was shown stays among the earlier ones."""
        return picture_set.shown(self.studio, None)

    def caption(self, dataset_id: str, event: gr.EventData) -> str:
        """HTML of the edits after a caption was changed; the pictures stay, since somebody types in them."""
        record = self._set(dataset_id)
        name, caption = getattr(event, "file", None), getattr(event, "text", None)
        if not isinstance(name, str) or not isinstance(caption, str):
            raise DatasetError("That picture is not in this set.", "Reload the page.")
        self.studio.datasets.set_caption(record.id, name, caption)
        return dataset_edits(self.studio.datasets.edits(record.id))

    def delete(self, dataset_id: str, base: str, typed: Any, event: gr.EventData) -> list[Any]:
        return picture_set.without_pictures(self.studio, dataset_id, event, self.view(base, typed, event))

    def act(self, base: str, typed: Any, event: gr.EventData) -> list[Any]:
        """Undo: a whole set comes back that was deleted elsewhere."""
        record = deleted_elsewhere.undo(self.studio, getattr(event, "id", None))
        return picture_set.shown(self.studio, record, self.view(base, typed))

    def edit(self, dataset_id: str, base: str, typed: Any, event: gr.EventData) -> list[Any]:
        """Rotate, flip or crop a picture, or undo or redo the last edits."""
        record = picture_set.edited(self.studio, self._set(dataset_id), event)
        return picture_set.shown(self.studio, record, self.view(base, typed, event))

    def apply_fixes(self, dataset_id: str, base: str, typed: Any, event: gr.EventData) -> list[Any]:
        """Mend what the checks found."""
        del dataset_id  # the check says which set it is of
        mended = check_card.mended(self.studio, event)
        return picture_set.shown(self.studio, self._set(mended), self.view(base, typed, event))

    def expand(self, dataset_id: str, base: str, typed: Any, event: gr.EventData) -> list[Any]:
        """Show more pictures, or the same in another order."""
        return picture_set.shown(self.studio, self._set(dataset_id), self.view(base, typed, event))

    def mark_small(self, dataset_id: str, base: str, typed: Any) -> Any:
        """HTML of the pictures with their marks for another base or size."""
        if not dataset_id:
            return gr.skip()
        return picture_set.shown(self.studio, self._set(dataset_id), self.view(base, typed))[1]

    def _set(self, dataset_id: str) -> DatasetRecord:
        return self.studio.datasets.get(safe_id(dataset_id, "set of pictures"))
