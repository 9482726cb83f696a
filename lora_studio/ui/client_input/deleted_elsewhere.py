"""LoRAs, pictures and sets deleted elsewhere: in another window, over the API, on the command line, by hand.

Only the folders tell the page about it. So each look compares the times of a few of them, and where something
is gone, the page says so, with Undo as long as the trash has it, and offers nothing that needs it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from lora_studio.access.visitor import Kind, visitor
from lora_studio.errors import StoreError, StudioError
from lora_studio.files import sha256
from lora_studio.parsing.slugs import SLUG
from lora_studio.records import DatasetRecord, JobRecord
from lora_studio.settings import Settings
from lora_studio.store.trash import Deleted
from lora_studio.studio import Studio
from lora_studio.ui.client_input.validate import safe_id
from lora_studio.ui.widgets.html_templates import fill

NEWEST = 20
"""Deleted pictures that are searched for one whose path is unknown."""


def stamp(settings: Settings) -> str:
    """A text that changes with any deletion or undo. Not a number: the browser carries it, and its numbers
    are not exact to the nanosecond."""
    return " ".join(str(_time(folder)) for folder in (settings.trash, settings.loras, settings.datasets))


def _time(folder: Path) -> int:
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return 0


def token_of(studio: Studio, path: str | Path) -> str:
    """The token that brings a deleted file or folder back; empty when the trash does not have it."""
    wanted = Path(path)
    return next((entry.token for entry in _deleted(studio) if wanted in map(Path, entry.paths)), "")


def token_of_image(studio: Studio, image_id: str) -> str:
    """The token that brings back a picture of this SHA-256 sum; empty when the trash does not have it."""
    entries = [entry for entry in studio.gallery.deleted() if entry.kind == "image"]
    return next((e.token for e in entries[:NEWEST] if image_id in _sums(studio.settings.trash, e)), "")


def _sums(trash: Path, entry: Deleted) -> set[str]:
    kept = (trash / entry.token / f"{number}-{Path(path).name}" for number, path in enumerate(entry.paths))
    return {sha256(path) for path in kept if path.is_file()}


def _deleted(studio: Studio) -> list[Deleted]:
    return [*studio.gallery.deleted(), *studio.datasets.deleted()]


def note(sentence: str, token: str = "") -> str:
    """HTML: a sentence on a deletion, and a button that undoes it."""
    return fill("gone", sentence=sentence, token=token)


def undo(studio: Studio, given: Any) -> DatasetRecord | None:
    """Undo the deletion of a token; returns the set of pictures if it was one. Raises StoreError."""
    token = safe_id(given, "deleted thing")
    if any(entry.token == token for entry in studio.removed_trainings.deleted()):
        studio.removed_trainings.undo(token)
        return None
    entry = next((entry for entry in studio.datasets.deleted() if entry.token == token), None)
    if entry is None:
        studio.gallery.undo(token)
        return None
    studio.datasets.undo(token)
    return studio.datasets.get(Path(entry.paths[0]).name)


@dataclass(frozen=True, kw_only=True)
class Footing:
    """The remains of a training: its result (`lora`: its file, states and previews) and its `pictures`.
    `said` is HTML about the missing ones."""

    lora: bool = True
    pictures: bool = True
    said: str = ""

    @property
    def whole(self) -> bool:
        return self.lora and self.pictures


def footing(studio: Studio, job: JobRecord) -> Footing:
    """The remains of a training; of one that goes on, all."""
    if job.status.active:
        return Footing()
    folder = job.result_path or _setting(job, "output", "output_dir")
    learned = bool(job.result_path) or job.state_step is not None
    pictures = _setting(job, "dataset", "train_data_dir")
    lost = {
        "lora": bool(learned and folder and not Path(folder).exists()),
        "pictures": bool(pictures and not Path(pictures).exists()),
    }
    notes = ""
    if lost["lora"]:
        what = "What this training learned, its LoRA and its previews, was deleted."
        notes += note(what, token_of(studio, folder))
    if lost["pictures"]:
        notes += note("The pictures of this training were deleted.", token_of(studio, pictures))
    return Footing(lora=not lost["lora"], pictures=not lost["pictures"], said=notes)


def _setting(job: JobRecord, group: str, name: str) -> str:
    found = job.config.get(group)
    return str(found.get(name) or "") if isinstance(found, dict) else ""


def chosen_lora(studio: Studio, slug: str) -> str:
    """HTML for the details of a deleted LoRA; empty while it is here."""
    if not slug or _is_there(studio.gallery.lora, slug):
        return ""
    return note(f"The LoRA “{slug}” was deleted.", token_of(studio, studio.settings.loras / slug))


def chosen_image(studio: Studio, image_id: str) -> str:
    """HTML for the details of a deleted picture; empty while it is here."""
    if not image_id or _is_there(studio.gallery.image, image_id):
        return ""
    return note("This picture was deleted.", token_of_image(studio, image_id))


def chosen_pictures(studio: Studio, dataset_id: str) -> str:
    """HTML in the place of a deleted set of pictures; empty while it is here."""
    is_seen = visitor().sees(Kind.DATASET, dataset_id)
    if not dataset_id or (is_seen and (studio.settings.datasets / dataset_id).is_dir()):
        return ""
    sentence = "These pictures were deleted."
    return note(sentence, token_of(studio, studio.settings.datasets / dataset_id))


def _is_there(find: Any, key: str) -> bool:
    try:
        find(key)
    except StudioError:
        return False
    return True


def selection(studio: Studio, selected: Any) -> tuple[list[str], str]:
    """The chosen LoRAs that are still here, and HTML about the others."""
    given = selected if isinstance(selected, list) else []
    slugs = [slug for slug in given if isinstance(slug, str) and SLUG.fullmatch(slug)]
    folder, present = studio.settings.loras, visitor()
    here = [slug for slug in slugs if (folder / slug).is_dir() and present.sees(Kind.LORA, slug)]
    notes = [
        note(
            f"The LoRA “{slug}” was deleted; the next pictures are drawn without it.",
            token_of(studio, studio.settings.loras / slug),
        )
        for slug in slugs
        if slug not in here
    ]
    return here, "".join(notes)


def undo_event(studio: Studio) -> Any:
    """A handler for the button of `note`, which removes the note."""

    def undo_deleted(event: gr.EventData) -> str:
        if getattr(event, "action", "") != "undo":
            raise StoreError("There is nothing to undo.", "Reload the page.")
        undo(studio, getattr(event, "id", None))
        return ""

    return undo_deleted
