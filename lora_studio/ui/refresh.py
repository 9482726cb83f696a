"""The refresh of the page when its revision is another one: changes since the browser last looked, read from
the store.

The browser holds no state of a job. The mark of what it has painted comes back with each look (`seen`), so an
unchanged part costs nothing, and a page that was just opened gets everything.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from lora_studio.records import JobRecord, JobStatus
from lora_studio.store.job_lists import ended_mark, present_jobs
from lora_studio.studio import Studio
from lora_studio.ui import page_revision
from lora_studio.ui.client_input import deleted_elsewhere
from lora_studio.ui.client_input.validate import quietly
from lora_studio.ui.comparison import comparison_panel, strength_panel
from lora_studio.ui.gallery import repair_progress
from lora_studio.ui.gallery.gallery_tab import GalleryTab
from lora_studio.ui.gallery.shelves import (
    first_scan,
    image_filters,
    image_shelf,
    library_marks,
    lora_filters,
    lora_shelf,
)
from lora_studio.ui.gallery.trash_tab import trash_list
from lora_studio.ui.generate import generation_progress
from lora_studio.ui.generate.generate_requests import SLOTS, lora_choices, slots
from lora_studio.ui.generate.generate_tab import GenerateTab
from lora_studio.ui.operations.studio_tab import StudioTab
from lora_studio.ui.operations.studio_tab import views as studio_views
from lora_studio.ui.train import device_work, paused_trainings, result_card, train_tab, training_views
from lora_studio.ui.train.train_tab import TrainTab
from lora_studio.ui.upload import picture_set
from lora_studio.ui.upload.upload_tab import UploadTab
from lora_studio.ui.widgets import cards

Changes = dict[Any, Any]
"""New values of components; the others stay."""
PROMPTS_LISTED, PICTURES_ASKED = 15, 60
TRAINING_MARKS = ("revision", "job", "shown", "previews", "facts", "ready", "paused")


@dataclass(frozen=True, kw_only=True)
class Strip:
    """The line above the tabs while something runs, its text for screen readers, and those that wait."""

    row: gr.Row
    text: gr.HTML
    stop: gr.Button
    job: gr.Textbox
    spoken: gr.HTML
    paused: gr.HTML


@dataclass(frozen=True, kw_only=True)
class PageRefresh:
    """The components that follow the store."""

    studio: Studio
    strip: Strip
    upload: UploadTab
    train: TrainTab
    gallery: GalleryTab
    generate: GenerateTab
    operations: StudioTab
    seen: gr.JSON
    revision: gr.HTML

    @property
    def inputs(self) -> list[Any]:
        shelves = (self.gallery.loras, self.gallery.images)
        chosen = [shelf.chosen for shelf in shelves]
        places = [part for shelf in shelves for part in shelf.place]
        held = [self.upload.dataset, self.generate.loras, self.generate.order, *self.generate.weights]
        tickets = [self.train.other, self.generate.ticket]
        return [self.seen, *self.train.past, *tickets, *chosen, *places, *held]

    @property
    def outputs(self) -> list[Any]:
        """Components in the order of `look`."""
        strip, gallery = self.strip, self.gallery
        return [
            self.seen,
            *(strip.row, strip.text, strip.job, strip.spoken, strip.paused),
            *self.train.live,
            *(
                self.train.device_work,
                self.train.history,
                self.train.comparison,
                self.train.strength,
                gallery.strength,
            ),
            *(gallery.reading, gallery.filters, gallery.image_filters),
            *(gallery.loras.grid, gallery.images.grid),
            *(gallery.trash, gallery.inspect.progress),
            *(self.generate.loras, self.generate.used),
            *self.generate.live,
            *self.operations.live,
            self.revision,
            *self.held,
        ]

    @property
    def _slots(self) -> list[Any]:
        """Components in the order of `slots`."""
        return [*self.generate.weights, self.generate.order, self.generate.triggers]

    @property
    def held(self) -> list[Any]:
        """Components of choices that may be deleted elsewhere meanwhile."""
        loras, images = self.gallery.loras, self.gallery.images
        return [
            self.generate.gone,
            *self._slots,
            *(loras.chosen, loras.details, loras.actions, self.gallery.sections),
            *(images.chosen, images.details, images.actions),
            *(*self.upload.shown, self.upload.earlier),
        ]

    def look(self, seen: Any, job_id: str, search: Any, limit: Any, other: Any, *parts: Any) -> Changes:
        """New values of components that the browser has not painted already, and always of `seen`. `search`
        and `limit` say which ended trainings are listed, `other` is compared with the shown one."""
        ticket_id, shelves = parts[0], parts[1:]
        marks: Mapping[str, Any] = seen if isinstance(seen, dict) else {}
        revision = page_revision.page_revision(self.studio)  # first: later changes are seen later
        jobs, jobs_seen = self._jobs(marks, job_id)
        past = [ended_mark(self.studio.database), jobs_seen["shown"]]
        if marks.get("past") != past:
            jobs = {**jobs, self.train.history: train_tab.history_view(self.studio, job_id, search, limit)}
        compared, compared_seen = self._compared(marks, jobs_seen, str(other or ""), str(shelves[0] or ""))
        held: list[Any] = list(shelves[9:])
        dataset, selected, order, *weights = held + ["", [], None][len(held) :]
        here, notes = deleted_elsewhere.selection(self.studio, selected)
        library, library_seen = self._library(marks, shelves, here if notes else None)
        generation_queue, desk_seen = self._desk(marks, ticket_id)
        now = deleted_elsewhere.stamp(self.studio.settings)
        gone = {} if marks.get("stamp") == now else self._gone(shelves[0], shelves[1], dataset)
        gone |= {} if marks.get("stamp") == now else {self.gallery.trash: trash_list(self.studio)}
        gone |= {self.generate.gone: notes} if notes else {}
        look, shown = self.studio.check_up.revision, self.operations.live
        checked = (
            {} if marks.get("check") == look else dict(zip(shown, studio_views(self.studio), strict=True))
        )
        captions = [self.studio.captionings.revision, now]
        if marks.get("captions") != captions:
            gone |= {self.train.device_work: device_work.captionings(self.studio)}
        repairs = self.studio.inspector.jobs.revision
        if marks.get("repairs") != repairs:
            gone |= {self.gallery.inspect.progress: repair_progress.view(self.studio)}
        painted = {} if marks.get("page") == revision else {self.revision: page_revision.painted(revision)}
        return {
            self.seen: {
                **jobs_seen,
                "past": past,
                **compared_seen,
                **library_seen,
                **desk_seen,
                "stamp": now,
                "check": look,
                "repairs": repairs,
                "captions": captions,
                "page": revision,
            },
            **painted,
            **checked,
            **jobs,
            **compared,
            **library,
            **self._weights(here, order, weights),
            **generation_queue,
            **gone,
        }

    def look_quietly(self) -> Any:
        return quietly(self.look, gr.skip)

    def _jobs(self, marks: Mapping[str, Any], job_id: str) -> tuple[Changes, dict[str, Any]]:
        revision = self.studio.jobs.revision
        before = {name: marks.get(name) for name in TRAINING_MARKS}
        unmoved = marks.get("stamp") == deleted_elsewhere.stamp(self.studio.settings)
        waits_for = before["ready"] if isinstance(before["ready"], list) else []
        as_drawn = waits_for == result_card.progress_mark(self.studio, next(iter(waits_for), ""))
        if marks.get("revision") == revision and marks.get("job") == job_id and unmoved and as_drawn:
            return {}, before
        shown = train_tab.shown_job(self.studio, job_id)
        facts, ready = train_tab.shown_mark(shown), result_card.waited_for(self.studio, shown)
        seen: dict[str, Any] = {
            "revision": revision,
            "job": job_id,
            "shown": shown.id if shown else "",
            "previews": before["previews"],
            "facts": facts,
            "ready": ready,
        }
        if unmoved and before["facts"] == facts and waits_for == ready:
            updates = train_tab.other_updates(self.train, self.studio, shown)
        else:
            drawn = before["previews"] if before["shown"] == seen["shown"] and unmoved else None
            updates, seen["previews"] = train_tab.job_updates(self.studio, shown, drawn)
        strip = self._strip()
        seen["paused"] = zlib.crc32(strip[self.strip.paused].encode())
        if seen["paused"] == before["paused"]:
            del strip[self.strip.paused]
        return {**strip, **dict(zip(self.train.live, updates, strict=True))}, seen

    def _compared(
        self, marks: Mapping[str, Any], jobs: Mapping[str, Any], other: str, lora: str
    ) -> tuple[Changes, dict[str, Any]]:
        """The two trainings side by side, and the strength of the shown training's LoRA and the Gallery's."""
        studio, train = self.studio, self.train
        seen: dict[str, Any] = {"compared": [jobs["shown"], other, jobs["revision"]] if other else []}
        changes: Changes = {}
        if marks.get("compared") != seen["compared"]:
            changes[train.comparison] = comparison_panel.comparison_of(studio, jobs["shown"], other)
        shown = {train.strength: train_tab.lora_of(studio, jobs["shown"]), self.gallery.strength: lora}
        for place, (part, slug) in zip(("trained", "chosen"), shown.items(), strict=True):
            seen[f"{place} strength"] = strength_panel.strength_mark(studio, slug)
            if marks.get(f"{place} strength") != seen[f"{place} strength"]:
                changes[part] = strength_panel.strength_of(studio, slug)
        return changes, seen

    def _strip(self) -> Changes:
        active = [job for job in present_jobs(self.studio.database) if job.status.active]
        waiting = sum(job.status is JobStatus.QUEUED for job in active)
        job: JobRecord | None = None
        if active:  # what runs, else what waits for the first turn
            job = self.studio.jobs.get(active[0].id)
            waiting -= active[0].status is JobStatus.QUEUED
        latest = job or next(iter(self.studio.jobs.jobs(limit=1)), None)
        return {
            self.strip.row: gr.update(visible=job is not None),
            self.strip.text: training_views.strip(job, waiting),
            self.strip.job: job.id if job else "",
            self.strip.spoken: training_views.speech(latest),
            self.strip.paused: paused_trainings.paused_line(self.studio),
        }

    def _library(
        self, marks: Mapping[str, Any], shelves: tuple[Any, ...], selected: list[str] | None = None
    ) -> tuple[Changes, dict[str, Any]]:
        lora, image, *places = (str(given or "") for given in shelves[:9])
        counts, reading = library_marks(self.studio), first_scan(self.studio)
        seen: dict[str, Any] = {
            **counts,
            "reading": reading,
            "lora shelf": [*counts["loras"], *places[:4]],
            "lora filters": [*counts["loras"], *places[2:4]],
            "image shelf": [*counts["images"], *places[4:]],
            "image filters": places[6:],
        }
        new = {name for name, mark in seen.items() if marks.get(name) != mark}
        changes: Changes = {self.gallery.reading: reading} if "reading" in new else {}
        if "lora shelf" in new:
            changes |= lora_shelf(self.gallery.loras, self.studio, places[:4], lora)
        if self.gallery.loras.chosen in changes:  # let go
            changes[self.gallery.sections] = ""
        if "lora filters" in new:
            changes[self.gallery.filters] = lora_filters(self.studio, *places[2:4])
        if "image shelf" in new:
            changes |= image_shelf(self.gallery.images, self.studio, places[4:], image)
        if "image filters" in new:
            changes[self.gallery.image_filters] = image_filters(places[6])
        if "images" in new:
            changes[self.generate.used] = self._prompts_used()
        if selected is not None or "loras" in new:  # not None: one of them was deleted
            choices = lora_choices(self.studio.gallery.listed_loras())
            kept = {} if selected is None else {"value": selected}
            changes[self.generate.loras] = {**gr.update(choices=choices), **kept}
        return changes, seen

    def _weights(self, here: Sequence[str], order: Any, weights: Sequence[Any]) -> Changes:
        """New values of the weights that were left behind by another choice of LoRAs: a change that comes
        from here, or while the last one is being answered, may not be reported (Gradio 6.31)."""
        if not isinstance(order, list) or order == list(here[:SLOTS]):
            return {}
        changes = dict(zip(self._slots, slots(self.studio, here, order, weights), strict=True))
        return changes if changes[self.generate.order] != order else {}

    def _gone(self, lora: Any, image: Any, dataset: Any) -> Changes:
        """New values for choices that were deleted elsewhere: a note on that, and nothing to do with them."""
        studio, loras, images = self.studio, self.gallery.loras, self.gallery.images
        hidden: dict[str, Any] = gr.update(visible=False)
        lora_said = deleted_elsewhere.chosen_lora(studio, str(lora or ""))
        image_said = deleted_elsewhere.chosen_image(studio, str(image or ""))
        set_said = deleted_elsewhere.chosen_pictures(studio, str(dataset or ""))
        sets = sorted(studio.datasets.datasets(), key=lambda record: -record.created_at)
        changes: Changes = {self.upload.earlier: picture_set.earlier_sets(sets)}
        if lora_said:
            changes |= {loras.chosen: "", loras.details: lora_said, loras.actions: hidden}
            changes |= {self.gallery.sections: ""}
        if image_said:
            changes |= {images.chosen: "", images.details: image_said, images.actions: hidden}
        if set_said:
            changes |= dict(zip(self.upload.shown, ("", set_said, "", ""), strict=True))
        return changes

    def _prompts_used(self) -> str:
        images = self.studio.gallery.images(limit=PICTURES_ASKED)
        asked = [str(image.request.get("prompt") or image.prompt) for image in images]
        return cards.prompts_used([one for one in dict.fromkeys(asked) if one][:PROMPTS_LISTED])

    def _desk(self, marks: Mapping[str, Any], ticket_id: str) -> tuple[Changes, dict[str, Any]]:
        """New values for the generation in work and those that wait."""
        now = deleted_elsewhere.stamp(self.studio.settings)
        mark = [self.studio.generation_queue.revision, str(ticket_id or ""), self.studio.lease.holder, now]
        if marks.get("desk") == mark:
            return {}, {name: marks.get(name) for name in ("desk", "results")}
        shown = generation_progress.shown_ticket(self.studio.generation_queue, ticket_id)
        updates, results = generation_progress.updates(self.studio, shown, marks.get("results"))
        return dict(zip(self.generate.live, updates, strict=True)), {"desk": mark, "results": results}
