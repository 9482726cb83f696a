"""The chosen LoRA put on the Hugging Face Hub: what will go up, then the way there, with progress, Stop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from lora_studio.events import Event, PhaseAdvanced
from lora_studio.formatting import counted, size
from lora_studio.jobs.publishing.published_files import PublishPlan
from lora_studio.studio import Studio
from lora_studio.ui.client_input.validate import PRIVATE, QUICK, chosen_lora, guarded, text, yes_or_no
from lora_studio.ui.gallery.link_import import busy, sentence, share
from lora_studio.ui.train.cancel_events import Stops
from lora_studio.ui.widgets.html_templates import fill, panel


@dataclass(frozen=True, kw_only=True)
class PublishParts:
    """The fields, the buttons, what will go up, and the address in the end."""

    name: gr.Textbox
    private: gr.Checkbox
    look: gr.Button
    go: gr.Button
    stop: gr.Button
    plan: gr.HTML


def render() -> PublishParts:
    """Create the components. Call in the column of a LoRA's details."""
    with gr.Accordion("Publish on the Hugging Face Hub", open=False, elem_id="gallery-publish"):
        name = gr.Textbox(
            label="Name on the Hub",
            info="As owner/name; without an owner it is yours. Empty: the LoRA's short name.",
            max_lines=1,
            elem_id="gallery-publish-name",
        )
        private = gr.Checkbox(
            True,
            label="Private: only you see it, until you change that on the Hub",
            elem_id="gallery-publish-private",
        )
        plan = panel(elem_id="gallery-publish-plan")
        with gr.Row():
            look = gr.Button("Show what goes up", min_width=120, elem_id="gallery-publish-look")
            go = gr.Button("Publish", variant="primary", min_width=120, elem_id="gallery-publish-go")
            stop = gr.Button(
                "Stop", variant="stop", visible=False, min_width=80, elem_id="gallery-publish-stop"
            )
    return PublishParts(name=name, private=private, look=look, go=go, stop=stop, plan=plan)


def listen(parts: PublishParts, chosen: gr.Textbox, studio: Studio) -> None:
    """Wire the buttons; another LoRA takes the plan away."""
    stops = Stops()

    def plan_publishing(slug: str) -> str:
        return plan_view(studio.publisher.plan(chosen_lora(slug)))

    def publish(
        request: gr.Request, slug: str, name: str, hidden: Any, progress: gr.Progress = gr.Progress()
    ) -> str:
        def tell(event: Event) -> None:
            if isinstance(event, PhaseAdvanced):
                progress(share(event), desc=sentence(event))

        is_private = yes_or_no(hidden, "private")
        with stops.watch(request.session_hash or "") as should_stop:
            address = studio.publisher.publish(
                chosen_lora(slug), text(name, "name"), private=is_private, emit=tell, should_stop=should_stop
            )
        if not address:
            gr.Info("Stopped; nothing new is on the Hub.")
        return fill("published", address=address, private=is_private) if address else ""

    def stop(request: gr.Request) -> None:
        if stops.ask(request.session_hash or ""):
            gr.Info("Stopping.")

    buttons = [parts.go, parts.stop]
    parts.look.click(guarded(plan_publishing), chosen, parts.plan, show_progress_on=parts.plan, **PRIVATE)
    running = parts.go.click(lambda: busy(True), None, buttons, **QUICK).then(
        guarded(publish),
        [chosen, parts.name, parts.private],
        parts.plan,
        show_progress_on=parts.plan,
        **PRIVATE,
    )
    parts.stop.click(guarded(stop), None, None, **QUICK)
    for after in (running.success, running.failure):
        after(lambda: busy(False), None, buttons, **QUICK)
    chosen.change(lambda: "", None, parts.plan, **QUICK)


def plan_view(plan: PublishPlan) -> str:
    """HTML of what would go up, and of what stays here."""
    rows = [(file.path, size(file.size_bytes)) for file in plan.files]
    whole = f"{counted(len(plan.files), 'file')}, {size(plan.size_bytes)}"
    return fill("publish_plan", rows=rows, whole=whole, private=plan.private)
