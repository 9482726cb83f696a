"""A set of pictures as edited, as a ZIP to be fetched; one is made at a time, beside uploads."""

from __future__ import annotations

import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from lora_studio.access.roles import Role
from lora_studio.access.visitor import Kind, visitor
from lora_studio.data.training_set.dataset_export import ExportedSet
from lora_studio.events import Emit, Event, PhaseAdvanced, ShouldStop, ignore, never_stop
from lora_studio.files import check_room
from lora_studio.formatting import counted, size
from lora_studio.parsing.file_names import portable_name
from lora_studio.studio import Studio
from lora_studio.ui.client_input.validate import PRIVATE, QUICK, as_words, guarded, shown_set
from lora_studio.ui.gallery.picked_pictures import ZIP_JS
from lora_studio.ui.train.cancel_events import Stops
from lora_studio.ui.widgets.html_templates import fill, panel


@dataclass(frozen=True, kw_only=True)
class DownloadParts:
    """The fold's components; `stop` is there while a ZIP is made."""

    pack: gr.Button
    stop: gr.Button
    link: gr.HTML


def render() -> DownloadParts:
    """Create the components. Call above the pictures."""
    with gr.Accordion("Download these pictures", open=False, elem_id="upload-pack"):
        panel(fill("pack"), elem_id="upload-pack-text")
        pack = gr.Button("Make the ZIP", elem_id="upload-pack-go")
        stop = gr.Button("Stop", variant="stop", size="sm", visible=False, elem_id="upload-pack-stop")
        link = panel(elem_id="upload-pack-link", actions=ZIP_JS)
    return DownloadParts(pack=pack, stop=stop, link=link)


def listen(parts: DownloadParts, dataset: gr.Textbox, studio: Studio) -> None:
    """Wire the fold. `dataset` holds the id of the set on the page."""
    stops = Stops()

    def pack_set(request: gr.Request, dataset_id: str, progress: gr.Progress = gr.Progress()) -> str:
        def tell(event: Event) -> None:
            if isinstance(event, PhaseAdvanced):
                progress(event.done / event.total, desc=sentence(event))

        known_id = shown_set(dataset_id)
        with stops.watch(request.session_hash or "") as should_stop:
            file, export = packed_set(studio, known_id, should_stop=should_stop, emit=tell)
        if export.notes:
            gr.Warning(as_words(" ".join(export.notes)), title="About these pictures")
        return fill("zip", file=file, words=f"{file.name}: {size(file.stat().st_size)}")

    def stop_packing(request: gr.Request) -> None:
        stops.ask(request.session_hash or "")

    def buttons(*, is_packing: bool) -> list[dict[str, Any]]:
        return [gr.update(interactive=not is_packing), gr.update(visible=is_packing)]

    both = [parts.pack, parts.stop]
    begun = parts.pack.click(lambda: buttons(is_packing=True), None, both, **QUICK)
    # After it, not beside it: a small ZIP would be done before the button came, which then stayed.
    packing = begun.then(guarded(pack_set), dataset, parts.link, show_progress_on=parts.link, **PRIVATE)
    parts.stop.click(guarded(stop_packing), None, None, **QUICK)
    for after in (packing.success, packing.failure):  # then() does not follow a failed event (6.31)
        after(lambda: buttons(is_packing=False), None, both, queue=False, **QUICK)


def sentence(event: PhaseAdvanced) -> str:
    """The progress of an export in words: all pictures are read, then written."""
    pictures = event.total // 2
    if event.done < pictures:
        return f"{event.done} of {counted(pictures, 'picture')} read"
    return f"{event.done - pictures} of {counted(pictures, 'picture')} written"


def packed_set(
    studio: Studio,
    dataset_id: str,
    *,
    repeats: int = 1,
    class_tokens: str = "",
    trigger: str = "",
    should_stop: ShouldStop = never_stop,
    emit: Emit = ignore,
) -> tuple[Path, ExportedSet]:
    """A ZIP of a set in Kohya's layout among the uploads, which are cleared by themselves; it is the
    visitor's, who has to have room for it while it is made. Raises DatasetError, also when stopped,
    StoreError; NotAllowed, DeviceBusy, QuotaReached."""
    visitor().needs(Role.CREATOR)
    record, uploads = studio.datasets.get(dataset_id), studio.settings.uploads
    check_room(uploads, "The ZIP", settings=studio.settings)
    folder = uploads / secrets.token_hex(20)
    target = folder / f"{portable_name(record.name, 'pictures')}.zip"
    with studio.turns.take("export", should_stop=should_stop):
        try:
            export = studio.datasets.export(
                record.id,
                target,
                repeats=repeats,
                class_tokens=class_tokens,
                trigger_word=trigger,
                should_stop=should_stop,
                emit=emit,
            )
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    visitor().claims(Kind.UPLOAD, f"{folder.name}/{target.name}")
    return target, export
