"""The whole page: masthead, the strip with Stop, the tabs, and the events that join the tabs."""

from __future__ import annotations

from typing import Any

import gradio as gr

from lora_studio.access.visitor import NOBODY, STUDIO, acting
from lora_studio.errors import StoreError
from lora_studio.store.people.audit_log import AuditLog
from lora_studio.store.people.visitors import Visitors
from lora_studio.studio import Studio
from lora_studio.ui import drafts as draft
from lora_studio.ui import page_address, page_revision, supabase_badge
from lora_studio.ui.client_input.session_owners import SessionOwners
from lora_studio.ui.client_input.validate import PRIVATE, QUICK, guarded, safe_id
from lora_studio.ui.drafts import Drafts
from lora_studio.ui.endpoints import endpoints
from lora_studio.ui.gallery import gallery_tab
from lora_studio.ui.generate import generate_tab, png_info
from lora_studio.ui.generate.generate_requests import Filling, use_image, use_lora
from lora_studio.ui.generate.img2img import easel
from lora_studio.ui.languages.language import LANGUAGES
from lora_studio.ui.operations import studio_tab
from lora_studio.ui.page import Page
from lora_studio.ui.page_address import Places
from lora_studio.ui.people import people_panel, usage_panel
from lora_studio.ui.refresh import PageRefresh, Strip
from lora_studio.ui.train import end_notification, paused_trainings, train_tab
from lora_studio.ui.train.train_tab import TrainTab
from lora_studio.ui.upload import picture_set, repeated_training, saved_panel, upload_tab
from lora_studio.ui.widgets.html_templates import fill, hidden, panel

"""Options of events of clicks. They go through the queue: without it Gradio shows no error (6.31)."""
UNQUEUED: dict[str, Any] = {**QUICK, "queue": False}
"""Options of events without a click: a queued one keeps a connection, of six that a browser allows."""
UPLOADS_KEPT = (3600, 86400)
"""Seconds between looks at old uploads, and the age that Gradio drops them at; ours are in datasets/."""


def build(studio: Studio, visitors: Visitors | None = None) -> Page:
    """A fresh page over an open studio, for the person at the machine, or for `visitors`. A Blocks serves one
    server, so each server gets its own. All visitors get it as it is made here, so it holds nothing that is
    somebody's."""
    with acting(NOBODY if visitors and not visitors.is_open else STUDIO):
        return _built(studio, visitors or Visitors.over(studio.database, studio.settings))


def _built(studio: Studio, visitors: Visitors) -> Page:
    with Page(title="LoRA Studio", analytics_enabled=False, delete_cache=UPLOADS_KEPT) as page:
        page.visitors, page.uploads, page.sessions = visitors, studio.settings.uploads, SessionOwners()
        page.audit = AuditLog(studio.settings.home)
        panel(fill("masthead", asks=not visitors.is_open), elem_id="masthead")
        mirrored, used = supabase_badge.render_badge(studio), usage_panel.render()
        strip = _render_strip()
        with gr.Tabs(elem_id="tabs") as tabs:
            with gr.Tab("Upload", id="upload", elem_id="tab-upload"):
                upload = upload_tab.render(studio.settings)
            with gr.Tab("Train", id="train", elem_id="tab-train"):
                train = train_tab.render()
            with gr.Tab("Gallery", id="gallery", elem_id="tab-gallery"):
                gallery = gallery_tab.render(studio.settings)
                team = supabase_badge.render_team()
            with gr.Tab("Generate", id="generate", elem_id="tab-generate"):
                generate = generate_tab.render(studio)
            operations = studio_tab.render(visitors)
        people = people_panel.render()
        panel(fill("footer", languages=LANGUAGES), elem_id="page-footer", actions="look.show(element);")
        address = page_address.render()
        page.refresh = live = PageRefresh(
            studio=studio,
            strip=strip,
            upload=upload,
            train=train,
            gallery=gallery,
            generate=generate,
            operations=operations,
            seen=gr.JSON(visible=False, elem_id="seen"),
            revision=page_revision.render(),
        )
        drafts = Drafts(upload=upload, form=upload.form, generate=generate, kept=draft.render())
        mirror_parts = supabase_badge.MirrorParts(badge=mirrored, team=team)
        events = [
            *_listen_start(tabs, drafts, train, studio),
            *_listen_use(tabs, live),
            _listen_repeat(tabs, live),
            _listen_set(tabs, live),
            *_listen_stop(strip, studio),
            *paused_trainings.listen(strip.paused, train.job, tabs, studio),
            *train_tab.listen(train, studio),
            *gallery_tab.listen(gallery, studio),
            *generate_tab.listen(generate, studio),
            page_address.listen(page, address, _places(live), studio),
            *supabase_badge.listen(page, live.revision, mirror_parts, studio),
        ]
        upload_tab.listen(upload, studio)
        saved_panel.listen(page, upload.saved, upload.whole, upload.form, upload.refused, studio)
        usage_panel.listen(page, live.revision, used, studio, visitors)
        people_panel.listen(page, people, visitors)
        studio_tab.listen(page, operations, studio, visitors)
        draft.listen(page, drafts, studio)
        _follow(page, live, events)
        endpoints.add_endpoints(studio)
    return page


def _render_strip() -> Strip:
    spoken = panel(elem_id="spoken", actions="element.setAttribute('role', 'status')")
    with gr.Row(visible=False, elem_id="strip-row") as row:
        text = panel(elem_id="strip")
        end_notification.render()
        stop = gr.Button("Stop", variant="stop", size="md", elem_id="strip-stop", min_width=92, scale=0)
    shown = {"row": row, "text": text, "stop": stop, "spoken": spoken}
    return Strip(**shown, job=hidden("strip-job"), paused=paused_trainings.render())


def _places(live: PageRefresh) -> Places:
    return Places(train=live.train, gallery=live.gallery, generate=live.generate)


def _follow(page: gr.Blocks, live: PageRefresh, events: list[Any]) -> None:
    """Refresh the page on opening, at another revision, and at once after events that change something."""
    look = live.look_quietly()
    # Gradio tells each output that an event is on its way, seen or not, and looks through all components for
    # it (6.31): of a look only one hears of it, a tenth less of the browser's time for each step.
    quiet = {"show_progress_on": live.revision}
    how = {**UNQUEUED, **quiet, "js": page_address.told(live.inputs, _places(live))}
    live.revision.tick(look, live.inputs, live.outputs, **how)
    page.load(look, live.inputs, live.outputs, **how)
    for event in events:  # a second one that comes before the page has followed the first is not dropped
        event.then(look, live.inputs, live.outputs, trigger_mode="always_last", **how)


def _listen_start(tabs: gr.Tabs, drafts: Drafts, train: TrainTab, studio: Studio) -> list[Any]:
    """Wire the button that starts the training which the Upload tab describes, and Enter in its name."""
    upload = drafts.upload

    def start(_: gr.Request, *values: Any) -> list[Any]:
        return [upload.started(studio, values), gr.Tabs(selected="train")]

    guard = upload.refusals.guarded
    asks = [upload.train.click, upload.name.submit]
    event = gr.on(asks, guard(start), upload.whole, [train.job, tabs], **PRIVATE)
    upload.refusals.listen(event, upload.refused)
    draft.used(event, drafts)
    return [event]


def _listen_use(tabs: gr.Tabs, live: PageRefresh) -> list[Any]:
    studio, generate, gallery = live.studio, live.generate, live.gallery

    def opened(filling: Filling, missing: list[str] | None = None) -> list[Any]:
        shown = {"canvas": easel(filling.get("image", ""), filling.get("mask_image", ""), studio.settings)}
        report = "" if missing is None else png_info.report(missing)
        return [*generate.filling({**filling, **shown}, report), gr.Tabs(selected="generate")]

    def use_result(job_id: str) -> list[Any]:
        job = train_tab.shown_job(studio, job_id)
        if job is None:
            raise StoreError("There is no training to take a LoRA from.")
        return opened(use_lora(studio, train_tab.result_slug(job)))

    def use_stopped(event: gr.EventData) -> list[Any]:
        job = studio.jobs.get(safe_id(getattr(event, "id", None), "training"))
        return opened(use_lora(studio, train_tab.result_slug(job)))

    def use_chosen(slug: str) -> list[Any]:
        return opened(use_lora(studio, slug))

    def use_settings(image_id: str) -> list[Any]:
        return opened(*use_image(studio, image_id))

    outputs = [*generate.filled, tabs]
    return [
        generate.follow(event, studio)
        for event in (
            live.train.use.click(guarded(use_result), live.train.job, outputs, **QUICK),
            live.strip.paused.select(guarded(use_stopped), None, outputs, **QUICK),
            gallery.loras.use.click(guarded(use_chosen), gallery.loras.chosen, outputs, **QUICK),
            gallery.images.use.click(guarded(use_settings), gallery.images.chosen, outputs, **QUICK),
        )
    ]


def _listen_repeat(tabs: gr.Tabs, live: PageRefresh) -> Any:
    """Wire the button that sets Upload up as the shown training was."""
    studio, upload = live.studio, live.upload

    def repeat(job_id: str) -> list[Any]:
        job = train_tab.shown_job(studio, job_id)
        if job is None:
            raise StoreError("There is no training to run again.")
        return [*repeated_training.repeated(upload, studio, job), gr.Tabs(selected="upload")]

    outputs = [*repeated_training.outputs(upload), tabs]
    event = live.train.change.click(guarded(repeat), live.train.job, outputs, **QUICK)
    upload_tab.follow(event, upload, studio)
    return event


def _listen_set(tabs: gr.Tabs, live: PageRefresh) -> Any:
    """Wire the way from a LoRA in the Gallery to the pictures that it learned from."""
    studio, upload = live.studio, live.upload

    def open_set(event: gr.EventData) -> list[Any]:
        record = studio.datasets.get(safe_id(getattr(event, "id", None), "set of pictures"))
        return [*picture_set.shown(studio, record), gr.Tabs(selected="upload")]

    opened = live.gallery.sections.upload(guarded(open_set), None, [*upload.shown, tabs], **QUICK)
    upload_tab.follow(opened, upload, studio)
    return opened


def _listen_stop(strip: Strip, studio: Studio) -> list[Any]:
    def stop(job_id: str) -> None:
        studio.jobs.stop(studio.jobs.get(safe_id(job_id, "training")).id)

    return [strip.stop.click(guarded(stop), strip.job, None, **QUICK)]
