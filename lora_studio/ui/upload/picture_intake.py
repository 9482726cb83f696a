"""Uploaded files on their way into a set: a bar with a count while they are read, and a way to stop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from lora_studio.events import Event, PhaseAdvanced
from lora_studio.formatting import counted
from lora_studio.studio import Studio
from lora_studio.ui.client_input.validate import PRIVATE, QUICK, guarded
from lora_studio.ui.train.cancel_events import Stops
from lora_studio.ui.upload import picture_set
from lora_studio.ui.upload.picture_actions import SetActions

MANY = 12
"""Files from which reading takes long enough to be stopped."""


@dataclass(frozen=True, kw_only=True)
class IntakeParts:
    """The components around an upload: `given` are those that `SetActions.view` is made from, with the set
    before and the name behind."""

    files: gr.File
    stop: gr.Button
    shown: list[Any]
    given: list[Any]


def render_stop() -> gr.Button:
    """Create the button that stops reading. Call above the pictures."""
    return gr.Button("Stop reading", variant="stop", size="sm", visible=False, elem_id="upload-stop")


def listen(parts: IntakeParts, actions: SetActions, studio: Studio, bar: gr.HTML) -> Any:
    """Wire the upload and its end, its bar over `bar`; returns the event that puts the set on the page."""
    stops = Stops()

    def receive(
        request: gr.Request,
        files: Any,
        dataset_id: str,
        base: str,
        typed: Any,
        name: str | None,
        progress: gr.Progress = gr.Progress(),
    ) -> list[Any]:
        """Take files in. None comes first, for the drop zone, which takes the next ones."""

        def tell(event: Event) -> None:
            if isinstance(event, PhaseAdvanced):
                progress(share(event), desc=sentence(event))

        view = actions.view(base, typed)
        with stops.watch(request.session_hash or "") as should_stop:
            files_in = picture_set.Intake(files=files, name=name or "", emit=tell, should_stop=should_stop)
            return [None, *picture_set.received(studio, files_in, dataset_id, view)]

    def stop_reading(request: gr.Request) -> None:
        stops.ask(request.session_hash or "")

    parts.files.upload(lambda files: gr.update(visible=is_long(files)), parts.files, parts.stop, **QUICK)
    running = parts.files.upload(
        guarded(receive),
        [parts.files, *parts.given],
        [parts.files, *parts.shown],
        show_progress_on=bar,
        **PRIVATE,
    )
    parts.stop.click(guarded(stop_reading), None, None, **QUICK)
    for after in (running.success, running.failure):  # then() does not follow a failed event (6.31)
        after(lambda: gr.update(visible=False), None, parts.stop, queue=False, **QUICK)
    return running


def is_long(files: Any) -> bool:
    """Whether an upload is worth a button that stops it."""
    names = [str(getattr(file, "name", file)) for file in (files if isinstance(files, list) else [])]
    return len(names) >= MANY or any(name.lower().endswith(".zip") for name in names)


def share(event: PhaseAdvanced) -> float | None:
    """The part that is read, 0 to 1; None where an archive hides how much there is."""
    return min(1.0, event.done / event.total) if event.total else None


def sentence(event: PhaseAdvanced) -> str:
    """The count in words."""
    return (
        f"{event.done} of {counted(event.total, 'file')} read"
        if event.total
        else f"{counted(event.done, 'file')} read"
    )
