"""Trainings taken out of the history on the page, one or several at once, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from lora_studio.errors import StudioError
from lora_studio.formatting import counted
from lora_studio.records import JobRecord
from lora_studio.store.job_store import JobStore
from lora_studio.studio import Studio
from lora_studio.ui.client_input import deleted_elsewhere
from lora_studio.ui.client_input.validate import QUICK, guarded, safe_id, safe_slug, text
from lora_studio.ui.widgets.html_templates import ACTIONS_JS, fill, panel

HISTORY_JS = Path(__file__).with_name("history.js").read_text("utf-8")
MOST_AT_ONCE, LONGEST_IDS = 200, 10_000


def render() -> gr.HTML:
    """Create the note about what was removed, with Undo. Call inside a Tab."""
    return panel(elem_id="train-removed", actions=ACTIONS_JS)


def listen(history: gr.HTML, note: gr.HTML, studio: Studio) -> list[Any]:
    """Wire the removal. Returns the events after which the page has to be refreshed."""

    def remove_trainings(event: gr.EventData) -> str:
        ids = _given_ids(getattr(event, "ids", ""))
        return removed(studio, ids, with_loras=getattr(event, "loras", "") == "1")

    def undo_removal(event: gr.EventData) -> str:
        for token in _given_ids(getattr(event, "ids", "")):
            deleted_elsewhere.undo(studio, token)
        return ""

    return [
        history.delete(guarded(remove_trainings), None, note, **QUICK),
        note.click(guarded(undo_removal), None, note, **QUICK),
    ]


def removed(studio: Studio, ids: list[str], *, with_loras: bool = False) -> str:
    """Remove trainings, those that can be; HTML that says how many, and why not the others. Raises
    StudioError when it was none."""
    tokens: list[str] = []
    count, failures = 0, []
    for job_id in ids:
        try:
            job = studio.jobs.get(job_id)
            tokens.append(studio.removed_trainings.remove(job_id))
            count += 1
            slug = Path(job.result_path).name
            if with_loras and slug and _is_its_lora(studio, job, slug):
                tokens.append(studio.gallery.delete_lora(safe_slug(slug)))
        except StudioError as error:
            failures.append(error)
    if failures and not tokens:
        raise failures[0]
    sentence = f"{counted(count, 'training was', 'trainings were')} removed."
    if failures:
        sentence += f" {failures[0].message} {failures[0].hint}"
    return fill("removed", sentence=sentence.strip(), tokens=",".join(reversed(tokens)))


def _is_its_lora(studio: Studio, job: JobRecord, slug: str) -> bool:
    """Whether the LoRA of this slug is the training's: after a deletion another may have its name."""
    newest = JobStore(studio.database).newest_of(slug)
    return newest is not None and newest.id == job.id and (studio.settings.loras / slug).is_dir()


def _given_ids(given: Any) -> list[str]:
    listed = text(given, "ids", longest=LONGEST_IDS).split(",")[:MOST_AT_ONCE]
    return [safe_id(one, "training") for one in listed]
