"""A LoRA by its link or its name on the Hub, beside the button that adds a file: a choice where there are
several files, progress, and a way to stop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from lora_studio.downloads.hub_files import SeveralFiles
from lora_studio.events import Event, PhaseAdvanced
from lora_studio.formatting import size
from lora_studio.studio import Studio
from lora_studio.ui.client_input.validate import QUICK, guarded, text
from lora_studio.ui.train.cancel_events import Stops

NO_CHOICE: Any = gr.update(choices=[], value=None, visible=False)


@dataclass(frozen=True, kw_only=True)
class LinkParts:
    """The field, its button, the button that stops, and the files of a model to choose one of."""

    link: gr.Textbox
    files: gr.Radio
    go: gr.Button
    stop: gr.Button


def render() -> LinkParts:
    """Create the components. Call below the button that adds a file."""
    with gr.Row(equal_height=True):
        link = gr.Textbox(
            label="Link of a LoRA file, or its name on the Hub",
            show_label=False,
            container=False,
            placeholder="https://… or owner/name on the Hub",
            max_lines=1,
            scale=3,
            min_width=200,
            elem_id="gallery-lora-link",
        )
        go = gr.Button("Add it", size="sm", min_width=120, elem_id="gallery-lora-link-go")
        stop = gr.Button(
            "Stop", variant="stop", size="sm", visible=False, min_width=80, elem_id="gallery-lora-link-stop"
        )
    files = gr.Radio([], visible=False, label="Which file?", elem_id="gallery-lora-link-files")
    return LinkParts(link=link, files=files, go=go, stop=stop)


def listen(parts: LinkParts, studio: Studio, chosen: gr.Textbox) -> Any:
    """Wire the buttons. Returns the event after which `chosen` holds the new LoRA's slug."""
    stops = Stops()

    def fetch(
        request: gr.Request, link: str, file: Any, before: str, progress: gr.Progress = gr.Progress()
    ) -> list[Any]:
        def tell(event: Event) -> None:
            if isinstance(event, PhaseAdvanced):
                progress(share(event), desc=sentence(event))

        try:
            with stops.watch(request.session_hash or "") as should_stop:
                record = studio.links.add(text(link, "link"), tell, should_stop, file=text(file, "file"))
        except SeveralFiles as several:
            return [link, choice_of(several), before]
        if record is None:
            gr.Info("The download was stopped; nothing of it is kept.")
            return [link, gr.skip(), before]
        return ["", NO_CHOICE, record.slug]

    def stop(request: gr.Request) -> None:
        if stops.ask(request.session_hash or ""):
            gr.Info("Stopping.")

    buttons = [parts.go, parts.stop]
    running = gr.on([parts.go.click, parts.link.submit], lambda: busy(True), None, buttons, **QUICK).then(
        guarded(fetch),
        [parts.link, parts.files, chosen],
        [parts.link, parts.files, chosen],
        api_visibility="private",
        show_progress_on=parts.link,
        concurrency_limit=4,
    )
    parts.link.input(lambda: NO_CHOICE, None, parts.files, **QUICK)
    parts.stop.click(guarded(stop), None, None, **QUICK)
    for after in (running.success, running.failure):  # then() does not follow a failed event (6.31)
        after(lambda: busy(False), None, buttons, **QUICK)
    return running


def choice_of(several: SeveralFiles) -> dict[str, Any]:
    """The choice among the files of a model; none is chosen for anybody."""
    choices = [(file.words, file.path) for file in several.files]
    label = f"{several.repository} has {len(choices)} files. Choose one, then press Add it."
    return gr.update(choices=choices, value=None, label=label, visible=True)


def busy(working: bool) -> list[dict[str, Any]]:
    return [gr.update(interactive=not working), gr.update(visible=working)]


def share(event: PhaseAdvanced) -> float | None:
    """The part that has come, 0 to 1; None where the server doesn't say how much it is."""
    return min(1.0, event.done / event.total) if event.total else None


def sentence(event: PhaseAdvanced) -> str:
    whole = f" of {size(event.total)}" if event.total else ""
    return f"{event.note}: {size(event.done)}{whole}"
