"""A LoRA by its link, beside the button that adds a file: progress, and a way to stop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from lora_studio.events import Event, PhaseAdvanced
from lora_studio.formatting import size
from lora_studio.studio import Studio
from lora_studio.ui.client_input.validate import guarded, text
from lora_studio.ui.train.cancel_events import Stops


@dataclass(frozen=True, kw_only=True)
class LinkParts:
    """The field, its button, and the button that stops."""

    link: gr.Textbox
    go: gr.Button
    stop: gr.Button


def render() -> LinkParts:
    """Create the components. Call below the button that adds a file."""
    with gr.Row(equal_height=True):
        link = gr.Textbox(
            label="Link of a LoRA file",
            show_label=False,
            container=False,
            placeholder="Link of a LoRA file (https://…)",
            max_lines=1,
            scale=3,
            min_width=200,
            elem_id="gallery-lora-link",
        )
        go = gr.Button("Add from a link", size="sm", min_width=120, elem_id="gallery-lora-link-go")
        stop = gr.Button(
            "Stop", variant="stop", size="sm", visible=False, min_width=80, elem_id="gallery-lora-link-stop"
        )
    return LinkParts(link=link, go=go, stop=stop)


def listen(parts: LinkParts, studio: Studio, chosen: gr.Textbox) -> Any:
    """Wire the buttons. Returns the event after which `chosen` holds the new LoRA's slug."""
    stops = Stops()
    quick: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}

    def fetch(
        request: gr.Request, link: str, before: str, progress: gr.Progress = gr.Progress()
    ) -> list[str]:
        def tell(event: Event) -> None:
            if isinstance(event, PhaseAdvanced):
                progress(share(event), desc=sentence(event))

        with stops.watch(request.session_hash or "") as should_stop:
            record = studio.links.add(text(link, "link"), tell, should_stop)
        if record is None:
            gr.Info("The download was stopped; nothing of it is kept.")
            return [link, before]
        return ["", record.slug]

    def stop(request: gr.Request) -> None:
        if stops.ask(request.session_hash or ""):
            gr.Info("Stopping.")

    buttons = [parts.go, parts.stop]
    running = gr.on([parts.go.click, parts.link.submit], lambda: busy(True), None, buttons, **quick).then(
        guarded(fetch),
        [parts.link, chosen],
        [parts.link, chosen],
        api_visibility="private",
        show_progress_on=parts.link,
        concurrency_limit=4,
    )
    parts.stop.click(guarded(stop), None, None, **quick)
    for after in (running.success, running.failure):  # then() does not follow a failed event (6.31)
        after(lambda: busy(False), None, buttons, **quick)
    return running


def busy(working: bool) -> list[dict[str, Any]]:
    return [gr.update(interactive=not working), gr.update(visible=working)]


def share(event: PhaseAdvanced) -> float | None:
    """The part that has come, 0 to 1; None where the server doesn't say how much it is."""
    return min(1.0, event.done / event.total) if event.total else None


def sentence(event: PhaseAdvanced) -> str:
    whole = f" of {size(event.total)}" if event.total else ""
    return f"{event.note}: {size(event.done)}{whole}"
