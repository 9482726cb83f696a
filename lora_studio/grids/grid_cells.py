"""The cells of an X/Y/Z grid, each an ordinary request, and the order to draw them in."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from lora_studio.errors import ConfigError
from lora_studio.grids.axis_values import numbers, split_values
from lora_studio.grids.grid_request import MOST_CELLS, OF_A_LORA, PARAMETERS, Axis, GridRequest
from lora_studio.parsing.numbers import parse_decimal, shown
from lora_studio.parsing.slugs import SLUG
from lora_studio.prompts.expand import untagged
from lora_studio.prompts.lora_tags import number
from lora_studio.prompts.styles import STYLES, apply_style
from lora_studio.request import MOST_DRAWN, GenerateRequest
from lora_studio.samplers import SAMPLERS, sampler_named

WHOLE = (
    *("seed", "num_inference_steps", "width", "height", "clip_skip", "variation_seed"),
    *("mask_blur", "padding_mask_crop", "hires_steps", "lora_checkpoint"),
)
PARTS = (
    *("guidance_scale", "guidance_rescale", "distilled_guidance_scale", "shift"),
    *("variation_strength", "strength", "hires_scale", "hires_strength"),
    *("lora_weight", "lora_text_encoder_weight"),
)
NONE = "none"
EARLY, LATE = ("prompt", "negative_prompt", "lora"), ("style",)
"""Axes that are set before the rest, which works on them, and axes set after."""

Values = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell's request; `place` counts from 0: X fastest, then Y, then Z."""

    place: int
    request: GenerateRequest


@dataclass(frozen=True, kw_only=True)
class GridPlan:
    """A grid's cells. `request` has seeds; `labels` are X's, Y's and Z's, an empty one for a missing axis."""

    request: GenerateRequest
    cells: tuple[Cell, ...]
    labels: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]

    @property
    def columns(self) -> int:
        return len(self.labels[0])

    @property
    def rows(self) -> int:
        return len(self.labels[1])


def plan_grid(grid: GridRequest) -> GridPlan:
    """The cells of a grid, each with its LoRA tags in the list and a count of 1. Open seeds are drawn once,
    so that cells differ only by the axes. Raises ConfigError for values that can't be read or are out of
    range, for axes that undo each other, and for too many cells."""
    _check_axes(grid)
    chosen = [read_values(axis) if axis else [""] for axis in grid.axes]
    count = len(chosen[0]) * len(chosen[1]) * len(chosen[2])
    if count > MOST_CELLS:
        sizes = " × ".join(str(len(values)) for values in chosen if len(values) > 1)
        raise ConfigError(
            f"The grid has {count} cells ({sizes}).", f"Up to {MOST_CELLS} are possible.", field="values"
        )
    start = _with_seeds(grid)
    cells = []
    for place, (z, y, x) in enumerate(product(*reversed(chosen))):
        cells.append(Cell(place=place, request=_cell(start, grid.axes, (x, y, z), chosen)))
    labels = [
        tuple(f"{axis.title}: {value}" for value in values) if axis else ("",)
        for axis, values in zip(grid.axes, chosen, strict=True)
    ]
    return GridPlan(request=start, cells=tuple(cells), labels=(labels[0], labels[1], labels[2]))


def read_values(axis: Axis) -> list[str]:
    """The values of an axis, one a cell, in the form that labels show. Raises ConfigError."""
    name = axis.name
    if name in WHOLE and not (name == "lora_checkpoint" and NONE in axis.values):
        values = [str(int(value)) for value in numbers(axis.values, whole=True)]
    elif name in PARTS:
        values = [number(value) for value in numbers(axis.values, whole=False)]
    else:
        values = split_values(axis.values)
    if not values:
        raise ConfigError(f"The axis “{axis.title}” has no values.", "Write 1, 2, 3.", field="values")
    return values


def drawing_order(cells: Sequence[Cell]) -> list[Cell]:
    """The cells sorted so that the base changes as rarely as possible, and under each base the LoRAs."""
    bases = _ranks(cell.request.base for cell in cells)
    loras = _ranks(_files(cell.request) for cell in cells)
    return sorted(cells, key=lambda cell: (bases[cell.request.base], loras[_files(cell.request)], cell.place))


def _files(request: GenerateRequest) -> tuple[Any, ...]:
    return tuple(sorted((use.slug, use.checkpoint or 0) for use in request.loras if use.weight))


def _ranks(values: Any) -> dict[Any, int]:
    """Ranks of values by first appearance."""
    return {value: rank for rank, value in enumerate(dict.fromkeys(values))}


def _check_axes(grid: GridRequest) -> None:
    axes = [axis for axis in grid.axes if axis]
    for axis in axes:
        if axis.name not in PARAMETERS or (axis.slug and axis.name not in OF_A_LORA):
            raise ConfigError(
                f"“{axis.parameter}” can't be an axis.",
                f"Take one of: {', '.join(PARAMETERS)}.",
                field="parameter",
            )
    names = [axis.parameter for axis in axes]
    twice = next((name for name in names if names.count(name) > 1 and name != "prompt_replace"), "")
    if twice or ("size" in names and {"width", "height"} & set(names)):
        raise ConfigError(
            f"Two axes set the same: {twice or 'size'}.",
            "Take another parameter for one of them.",
            field="parameter",
        )


def _with_seeds(grid: GridRequest) -> GenerateRequest:
    request = grid.request
    seeds: Values = {"count": 1}
    if request.seed is None:
        seeds["seed"] = secrets.randbelow(MOST_DRAWN)
    varied = any(axis and axis.name == "variation_strength" for axis in grid.axes)
    if request.variation_seed is None and (request.variation_strength or varied):
        seeds["variation_seed"] = secrets.randbelow(MOST_DRAWN)
    return request.model_copy(update=seeds)


def _cell(
    start: GenerateRequest,
    axes: Sequence[Axis | None],
    values: Sequence[str],
    chosen: Sequence[Sequence[str]],
) -> GenerateRequest:
    """The request of one cell; `values` are those of X, Y and Z, `chosen` all values of each axis."""
    changes = [
        (axis, value, all_of)
        for axis, value, all_of in zip(axes, values, chosen, strict=True)
        if axis is not None
    ]
    # Replacing works on the text as typed, tags and all; the list of LoRAs comes from what is left.
    request = start
    for axis, value, all_of in changes:
        if axis.name == "prompt_replace":
            request = _build(request, _replaced(request, all_of[0], value))
        elif axis.name in EARLY[:2]:
            request = _build(request, {axis.name: value})
    tags = untagged(request.prompt, request.negative_prompt, request.loras)
    request = request.model_copy(update={"prompt": tags.prompt, "loras": tags.loras})
    for axis, value, _ in sorted(changes, key=lambda change: _turn(change[0])):
        if axis.name not in ("prompt_replace", *EARLY[:2]):
            request = _build(request, _setter(axis)(request, axis, value))
    return request


def _turn(axis: Axis) -> int:
    return 0 if axis.name in EARLY else 2 if axis.name in LATE else 1


def _build(request: GenerateRequest, changes: Mapping[str, Any]) -> GenerateRequest:
    """A changed request, checked as if it had been typed. Raises ConfigError."""
    return GenerateRequest(**{**request.model_dump(), **changes})


def _replaced(request: GenerateRequest, search: str, value: str) -> Values:
    texts = {name: getattr(request, name) for name in ("prompt", "negative_prompt")}
    if not any(search in text for text in texts.values()):
        raise ConfigError(
            f"“{search[:60]}” stands in neither prompt, so nothing can take its place.",
            "The first value is what is searched for, letter by letter.",
            field="values",
        )
    return {name: text.replace(search, value) for name, text in texts.items()}


Setter = Callable[[GenerateRequest, Axis, str], Values]


def _setter(axis: Axis) -> Setter:
    special: dict[str, Setter] = {
        "size": _size,
        "sampler": _sampler,
        "lora": _lora,
        "style": _style,
        "insert_trigger": _yes_or_no,
        **dict.fromkeys(OF_A_LORA, _of_a_lora),
    }
    return special.get(axis.name, lambda request, axis, value: {axis.name: value})


def _size(request: GenerateRequest, axis: Axis, value: str) -> Values:
    sides = re.fullmatch(r"(\d{1,5}+)\s*+[x×*]\s*+(\d{1,5}+)", value)
    if not sides:
        raise ConfigError(f"{shown(value)} is no size.", "Write 512x768.", field="values")
    return {"width": sides[1], "height": sides[2]}


def _sampler(request: GenerateRequest, axis: Axis, value: str) -> Values:
    found = sampler_named(value)
    if found.note:
        raise ConfigError(
            f"There is no sampler “{value[:60]}”.", f"There are: {', '.join(SAMPLERS)}.", field="values"
        )
    return {"sampler": found.sampler}


def _style(request: GenerateRequest, axis: Axis, value: str) -> Values:
    if value.lower() == NONE:
        return {}
    style = next((key for key, style in STYLES.items() if value.lower() in (key, style.title.lower())), "")
    prompt, negative = apply_style(request.prompt, request.negative_prompt, style or value, base=request.base)
    return {"prompt": prompt, "negative_prompt": negative}


def _yes_or_no(request: GenerateRequest, axis: Axis, value: str) -> Values:
    return {"insert_trigger": value.lower() in {"yes", "true", "on", "1"}}


def _lora(request: GenerateRequest, axis: Axis, value: str) -> Values:
    """Values for a LoRA of the axis, `slug` or `slug:0.8`, beside the request's other LoRAs."""
    on_axis = {other.partition(":")[0] for other in split_values(axis.values)}
    uses = [use.model_dump() for use in request.loras if use.slug not in on_axis]
    if value.lower() == NONE:
        return {"loras": uses}
    slug, _, weight = value.partition(":")
    if not _is_slug(slug):
        raise ConfigError(
            f"{shown(value)} is no LoRA of the library.", "Write its slug, or slug:0.8.", field="values"
        )
    return {"loras": [*uses, {"slug": slug, "weight": _weight(weight or "1", value)}]}


def _of_a_lora(request: GenerateRequest, axis: Axis, value: str) -> Values:
    """Values that set a weight or checkpoint of the LoRA that the axis names, or of all."""
    slugs = [axis.slug] if axis.slug else [use.slug for use in request.loras]
    if not slugs:
        raise ConfigError(
            f"“{axis.title}” changes a LoRA, but the request has none.",
            f"Add a LoRA, or write {axis.name}:slug.",
            field="parameter",
        )
    if not all(map(_is_slug, slugs)):
        raise ConfigError(f"“{axis.slug}” is no LoRA of the library.", "Write its slug.", field="parameter")
    key = axis.name.removeprefix("lora_")
    set_to = None if key == "checkpoint" and value.lower() == NONE else value
    uses = [use.model_dump() for use in request.loras]  # several may be checkpoints of one LoRA
    uses += [{"slug": slug} for slug in slugs if all(use["slug"] != slug for use in uses)]
    return {"loras": [{**use, key: set_to} if use["slug"] in slugs else use for use in uses]}


def _is_slug(text: str) -> bool:
    return SLUG.fullmatch(text) is not None


def _weight(text: str, value: str) -> float:
    weight = parse_decimal(text)
    if weight is None or not -4 <= weight <= 4:
        raise ConfigError(
            f"The weight in {shown(value)} is no number from -4 to 4.", "Write slug:0.8.", field="values"
        )
    return weight
