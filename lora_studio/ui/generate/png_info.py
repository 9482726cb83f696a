"""Settings from a picture: one that was made here or in A1111 is dropped, and the fields are filled in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from lora_studio.images.image_metadata import PARAMETERS, read_chunks, read_settings
from lora_studio.images.infotext import Restored
from lora_studio.studio import Studio
from lora_studio.ui.client_input.picture_input import given_picture
from lora_studio.ui.client_input.validate import guarded
from lora_studio.ui.generate.generate_requests import use_request
from lora_studio.ui.generate.img2img import easel
from lora_studio.ui.widgets.html_templates import fill, panel


@dataclass(frozen=True, kw_only=True)
class RecallParts:
    """The drop zone, and the report on the settings."""

    file: gr.File
    report_panel: gr.HTML


def render(report_panel: gr.HTML) -> RecallParts:
    """Create the drop zone, whose report goes to `report_panel`. Call inside a Tab."""
    file = gr.File(
        file_types=[".png", ".jpg", ".jpeg", ".webp"],
        label="Drop a picture to get its settings back",
        show_label=False,
        height=110,
        elem_id="generate-recall-file",
    )
    return RecallParts(file=file, report_panel=report_panel)


def render_report() -> gr.HTML:
    """Create the place of the report. Call where it is seen, whatever brought the settings."""
    return panel(elem_id="generate-recalled")


def recalled(studio: Studio, given: Any) -> tuple[Restored, str]:
    """The request in a client's picture, with sentences on what can't be taken over, and the picture's
    infotext. Raises DatasetError, BrokenFile, UnknownFormat, ConfigError."""
    with given_picture(given, studio.settings) as path:
        return read_settings(path), read_chunks(path).get(PARAMETERS, "")


def report(missing: list[str]) -> str:
    """HTML: the settings are filled in, and these are missing."""
    return fill("recalled", missing=missing)


def listen(
    parts: RecallParts,
    filled: Sequence[Any],
    fill_in: Callable[[Mapping[str, Any], str], list[Any]],
    studio: Studio,
) -> Any:
    """Wire the drop zone. Returns the event that fills in the components `filled`, with the values that
    `fill_in` makes of a request's."""

    def take(file: Any) -> list[Any]:
        restored, _ = recalled(studio, file)
        filling, missing = use_request(studio, restored.request)
        shown = easel(filling["image"], filling["mask_image"], studio.settings)
        return [*fill_in({**filling, "canvas": shown}, report([*missing, *restored.all_notes])), None]

    return parts.file.upload(
        guarded(take), parts.file, [*filled, parts.file], show_progress="hidden", api_visibility="private"
    )
