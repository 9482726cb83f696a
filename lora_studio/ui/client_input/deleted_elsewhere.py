"""What was deleted elsewhere: in another window, over the API, on the command line, by hand.

Nothing tells the page about it but the folders. So each look compares the times of a few of them, and where
something is gone, the page says so, with Undo as long as the trash has it, and offers nothing that needs it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

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
"""Deleted pictures that are looked through for one that is known by its sum only."""


def stamp(settings: Settings) -> str:
    """Another one whenever something was deleted or brought back. A text: the browser carries it, and its
    numbers are not exact to the nanosecond."""
    return " ".join(str(_time(folder)) for folder in (settings.trash, settings.loras, settings.datasets))


def _time(folder: Path) -> int:
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return 0


def token_of(studio: Studio, path: str | Path) -> str:
    """With which a deleted file or folder comes back; empty when the trash does not have it."""
    wanted = Path(path)
    return next((entry.token for entry in _deleted(studio) if wanted in map(Path, entry.paths)), "")


def token_of_image(studio: Studio, image_id: str) -> str:
    """As `token_of`, for a picture by its SHA-256 sum."""
    entries = [entry for entry in studio.gallery.deleted() if entry.kind == "image"]
    return next((e.token for e in entries[:NEWEST] if image_id in _sums(studio.settings.trash, e)), "")


def _sums(trash: Path, entry: Deleted) -> set[str]:
    kept = (trash / entry.token / f"{number}-{Path(path).name}" for number, path in enumerate(entry.paths))
    return {sha256(path) for path in kept if path.is_file()}


def _deleted(studio: Studio) -> list[Deleted]:
    return [*studio.gallery.deleted(), *studio.datasets.deleted()]


def note(sentence: str, token: str = "") -> str:
    """HTML: what was deleted, and a button that brings it back."""
    return fill("gone", sentence=sentence, token=token)


def undo(studio: Studio, given: Any) -> DatasetRecord | None:
    """Bring back what a token stands for; the set of pictures if it was one. Raises StoreError."""
    token = safe_id(given, "deleted thing")
    entry = next((entry for entry in studio.datasets.deleted() if entry.token == token), None)
    if entry is None:
        studio.gallery.undo(token)
        return None
    studio.datasets.undo(token)
    return studio.datasets.get(Path(entry.paths[0]).name)


@dataclass(frozen=True, kw_only=True)
class Footing:
    """What of a training is still there: what it learned (`lora`: its file, states and previews) and the
    `pictures` that it learned from. `said` is HTML about what is not."""

    lora: bool = True
    pictures: bool = True
    said: str = ""

    @property
    def whole(self) -> bool:
        return self.lora and self.pictures


def footing(studio: Studio, job: JobRecord) -> Footing:
    """Of a training that goes on, all of it."""
    if job.status.active:
        return Footing()
    folder = job.result_path or _setting(job, "output", "output_dir")
    learned = bool(job.result_path) or job.state_step is not None
    pictures = _setting(job, "dataset", "train_data_dir")
    lost = {
        "lora": bool(learned and folder and not Path(folder).exists()),
        "pictures": bool(pictures and not Path(pictures).exists()),
    }
    said = ""
    if lost["lora"]:
        what = "What this training learned, its LoRA and its previews, was deleted."
        said += note(what, token_of(studio, folder))
    if lost["pictures"]:
        said += note("The pictures of this training were deleted.", token_of(studio, pictures))
    return Footing(lora=not lost["lora"], pictures=not lost["pictures"], said=said)


def _setting(job: JobRecord, group: str, name: str) -> str:
    found = job.config.get(group)
    return str(found.get(name) or "") if isinstance(found, dict) else ""


def chosen_lora(studio: Studio, slug: str) -> str:
    """HTML for the details of a LoRA that was deleted; empty while it is here."""
    if not slug or _is_there(studio.gallery.lora, slug):
        return ""
    return note(f"The LoRA “{slug}” was deleted.", token_of(studio, studio.settings.loras / slug))


def chosen_image(studio: Studio, image_id: str) -> str:
    """As `chosen_lora`, for a picture."""
    if not image_id or _is_there(studio.gallery.image, image_id):
        return ""
    return note("This picture was deleted.", token_of_image(studio, image_id))


def chosen_pictures(studio: Studio, dataset_id: str) -> str:
    """As `chosen_lora`, for a set of pictures."""
    if not dataset_id or (studio.settings.datasets / dataset_id).is_dir():
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
    """Of the LoRAs to draw with, those that are here, and HTML about the others."""
    given = selected if isinstance(selected, list) else []
    slugs = [slug for slug in given if isinstance(slug, str) and SLUG.fullmatch(slug)]
    here = [slug for slug in slugs if (studio.settings.loras / slug).is_dir()]
    said = [
        note(
            f"The LoRA “{slug}” was deleted; the next pictures are drawn without it.",
            token_of(studio, studio.settings.loras / slug),
        )
        for slug in slugs
        if slug not in here
    ]
    return here, "".join(said)


def undo_event(studio: Studio) -> Any:
    """A handler for the button of `note`: the note goes."""

    def act(event: gr.EventData) -> str:
        if getattr(event, "action", "") != "undo":
            raise StoreError("There is nothing to undo.", "Reload the page.")
        undo(studio, getattr(event, "id", None))
        return ""

    return act
