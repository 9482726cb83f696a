"""Fields of X/Y/Z grids: the same picture over values of up to three settings, on one labelled sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from lora_studio.grids.grid_request import AXES, PARAMETERS, GridRequest
from lora_studio.lora.checkpoints import checkpoint_files
from lora_studio.request import GenerateRequest
from lora_studio.studio import Studio
from lora_studio.ui.client_input.validate import guarded, safe_grid, safe_slug
from lora_studio.ui.gallery.gallery_tab import existing_lora
from lora_studio.ui.generate.generate_requests import build_request
from lora_studio.ui.widgets.html_templates import fill, panel

EXAMPLES: Mapping[str, str] = {
    "seed": "1, 2, 3",
    "num_inference_steps": "8, 12, 20",
    "guidance_scale": "2-8 (+2)",
    "sampler": "DDIM, Euler a, UniPC",
    "prompt_replace": "dog, cat, fox",
    "lora": "none, my-lora:0.8",
    "lora_weight": "0-1 [5]",
    "lora_text_encoder_weight": "0, 1",
    "lora_checkpoint": "100, 200, none",
    "base": "starter",
    "style": "Portrait, Sticker",
    "prompt": '"a dog, red", "a cat, blue"',
    "negative_prompt": "none, blurry",
    "size": "512x512, 512x768",
    "insert_trigger": "yes, no",
    "hires_upscaler": "lanczos, latent",
}
OTHER_EXAMPLE = "1, 2, 3"
HOW_TO = "Values stand between commas. A range is 1-10 (+3), by steps of three, or 0-1 [5], five numbers."


@dataclass(frozen=True, kw_only=True)
class GridParts:
    """The components: for each axis its parameter and its values, and the button."""

    parameters: tuple[gr.Dropdown, ...]
    values: tuple[gr.Textbox, ...]
    go: gr.Button


def render() -> GridParts:
    """Create the fold with its fields. Call inside a Tab."""
    choices = [("nothing", ""), *((title, name) for name, title in PARAMETERS.items())]
    parameters, values = [], []
    with gr.Accordion("Grid: compare many", open=False, elem_id="generate-grid"):
        for axis, first in zip(AXES, ("seed", "", ""), strict=True):
            with gr.Row():
                parameters.append(
                    gr.Dropdown(
                        choices,
                        value=first,
                        label=f"{axis.upper()} changes",
                        interactive=True,
                        min_width=130,
                        elem_id=f"generate-grid-{axis}",
                    )
                )
                values.append(
                    gr.Textbox(
                        label=f"{axis.upper()} values",
                        placeholder=EXAMPLES.get(first, ""),
                        max_lines=1,
                        interactive=True,
                        min_width=160,
                        scale=2,
                        elem_id=f"generate-grid-{axis}-values",
                    )
                )
        panel(fill("quiet", text=HOW_TO), elem_id="generate-grid-how")
        go = gr.Button("Draw the grid", elem_id="generate-grid-go")
    return GridParts(parameters=tuple(parameters), values=tuple(values), go=go)


def build_grid(request: GenerateRequest, axes: Sequence[Any]) -> GridRequest:
    """The grid of a request; `axes` are the three parameters, then the three lines of values. Raises
    ConfigError."""
    given = {
        name: {"parameter": parameter, "values": str(values or "")}
        for name, parameter, values in zip(AXES, axes[:3], axes[3:], strict=True)
        if parameter
    }
    # So that the sheet has no empty rows: the axes in use come first.
    moved = dict(zip(AXES, given.values(), strict=False))
    return GridRequest.build(request=request.model_dump(), **moved)


def listen(parts: GridParts, fields: Mapping[str, Any], ticket: gr.Textbox, studio: Studio) -> Any:
    """Wire the fold; `fields` are the tab's, by their names in a request. Returns the event after which the
    page has to be refreshed."""
    quick: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}

    def ask(request: gr.Request, *values: Any) -> str:
        wanted = build_request(dict(zip(fields, values[6:], strict=True)), studio)
        grid = safe_grid(build_grid(wanted, values[:6]), studio.settings)
        return studio.submit_grid(grid, session=request.session_hash or "").id

    def example(parameter: str, chosen: Sequence[str]) -> dict[str, Any]:
        return gr.update(placeholder=_example(parameter, chosen or [], studio))

    for parameter, values in zip(parts.parameters, parts.values, strict=True):
        parameter.change(guarded(example), [parameter, fields["loras"]], values, **quick)
    axes = [*parts.parameters, *parts.values]
    return parts.go.click(guarded(ask), [*axes, *fields.values()], ticket, **quick)


def _example(parameter: str, chosen: Sequence[str], studio: Studio) -> str:
    """An example of an axis' values; checkpoints are those of the first LoRA."""
    record = existing_lora(studio, safe_slug(chosen[0])) if chosen else None
    if parameter == "lora_checkpoint" and record is not None:
        steps = sorted(checkpoint_files(Path(record.path).parent))
        return ", ".join(map(str, steps)) or OTHER_EXAMPLE
    if parameter == "lora" and record is not None:
        return f"none, {record.slug}:0.5, {record.slug}"
    return EXAMPLES.get(parameter, OTHER_EXAMPLE) if parameter else ""
