"""Fields of X/Y/Z grids: the same picture over values of up to three settings, on one labelled sheet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr

from lora_studio.errors import ConfigError
from lora_studio.grids.grid_cells import read_values
from lora_studio.grids.grid_request import AXES, PARAMETERS, GridRequest
from lora_studio.jobs.generation_queue import GenerationJob
from lora_studio.lora.checkpoints import checkpoint_files
from lora_studio.request import GenerateRequest
from lora_studio.studio import Studio
from lora_studio.ui.client_input.field_refusals import RefusalList
from lora_studio.ui.client_input.validate import QUICK, guarded, safe_grid, safe_slug
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


PARAMETER_FIELDS = tuple(f"grid-{axis}" for axis in AXES)
VALUE_FIELDS = tuple(f"grid-{axis}-values" for axis in AXES)
GRID_FIELDS = (*PARAMETER_FIELDS, *VALUE_FIELDS)
"""The tab's names of the fields: each axis' parameter, then each axis' values."""


def render() -> dict[str, Any]:
    """Create the fields of GRID_FIELDS. Call inside a Tab."""
    choices = [("nothing", ""), *((title, name) for name, title in PARAMETERS.items())]
    fields: dict[str, Any] = {}
    with gr.Column(elem_id="generate-grid"):
        for axis, first in zip(AXES, ("seed", "", ""), strict=True):
            with gr.Row():
                fields[f"grid-{axis}"] = gr.Dropdown(
                    choices,
                    value=first,
                    label=f"{axis.upper()} changes",
                    interactive=True,
                    min_width=130,
                    elem_id=f"generate-grid-{axis}",
                )
                fields[f"grid-{axis}-values"] = gr.Textbox(
                    label=f"{axis.upper()} values",
                    placeholder=EXAMPLES.get(first, ""),
                    max_lines=1,
                    interactive=True,
                    min_width=160,
                    scale=2,
                    elem_id=f"generate-grid-{axis}-values",
                )
        panel(fill("quiet", text=HOW_TO), elem_id="generate-grid-how")
    return fields


def build_grid(request: GenerateRequest, axes: Sequence[Any]) -> GridRequest:
    """The grid of a request; `axes` are three parameters, then three lines of values. Raises ConfigError."""
    given = {
        name: {"parameter": parameter, "values": str(values or "")}
        for name, parameter, values in zip(AXES, axes[:3], axes[3:], strict=True)
        if parameter
    }
    # So that the sheet has no empty rows: the axes in use come first.
    moved = dict(zip(AXES, given.values(), strict=False))
    return GridRequest.model_validate({"request": request, **moved})


def submit_asked(values: Mapping[str, Any], studio: Studio, *, session: str) -> GenerationJob:
    """Queue the grid that the tab's values ask for. Raises as `asked_grid`, and DeviceBusy."""
    grid = asked_grid(values, studio)
    with named_by_field(axes_in_use(values)):
        return studio.submit_grid(grid, session=session)


def axes_in_use(values: Mapping[str, Any]) -> list[str]:
    """The fields of the parameters that are chosen."""
    return [field for field in PARAMETER_FIELDS if values.get(field)]


def asked_grid(values: Mapping[str, Any], studio: Studio) -> GridRequest:
    """The grid that the tab's values ask for. Raises ConfigError under the fields of GRID_FIELDS and of the
    request, ModelFileError, StoreError."""
    axes = [values.get(name) for name in GRID_FIELDS]
    used = axes_in_use(values)
    found = RefusalList()
    request = GenerateRequest()
    with found.at():
        request = build_request(values, studio)
    with found.at(), named_by_field(used):
        grid = build_grid(request, axes)
        for axis, field in zip(grid.axes, used, strict=False):
            with found.at(f"{field}-values"):
                read_values(axis) if axis else ()
    found.raise_all()
    return safe_grid(grid, studio.settings)


@contextmanager
def named_by_field(used: Sequence[str]) -> Iterator[None]:
    """Give refusals of a grid, which count the axes in use, the names of the fields that say them."""
    fields = dict(zip(AXES, used, strict=False))
    try:
        yield
    except ConfigError as error:
        found = [ConfigError(one.message, one.hint, field=_field_of(one.field, fields)) for one in error.each]
        raise ConfigError(found[0].message, found[0].hint, field=found[0].field, others=found[1:]) from None


def _field_of(name: str, fields: Mapping[str, str]) -> str:
    """The field of an axis' part, as `x.values`; of a part alone, the first axis'; else the name itself."""
    axis, _, part = name.partition(".")
    if name in ("values", "parameter"):
        axis, part = AXES[0], name
    if axis not in fields:
        return name
    return f"{fields[axis]}-values" if part == "values" else fields[axis]


def listen(fields: Mapping[str, Any], studio: Studio) -> None:
    """Show an example of the values of each chosen parameter; `fields` are the tab's."""

    def example(parameter: str, chosen: Sequence[str]) -> dict[str, Any]:
        return gr.update(placeholder=_example(parameter, chosen or [], studio))

    for parameter, values in zip(PARAMETER_FIELDS, VALUE_FIELDS, strict=True):
        fields[parameter].change(
            guarded(example), [fields[parameter], fields["loras"]], fields[values], **QUICK
        )


def _example(parameter: str, chosen: Sequence[str], studio: Studio) -> str:
    """An example of an axis' values; checkpoints are those of the first LoRA."""
    record = existing_lora(studio, safe_slug(chosen[0])) if chosen else None
    if parameter == "lora_checkpoint" and record is not None:
        steps = sorted(checkpoint_files(Path(record.path).parent))
        return ", ".join(map(str, steps)) or OTHER_EXAMPLE
    if parameter == "lora" and record is not None:
        return f"none, {record.slug}:0.5, {record.slug}"
    return EXAMPLES.get(parameter, OTHER_EXAMPLE) if parameter else ""
