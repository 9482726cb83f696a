"""LoRAs on the axes of a grid by their titles."""

from __future__ import annotations

from pathlib import Path

from lora_studio.grids.axis_values import split_values
from lora_studio.grids.grid_request import AXES, OF_A_LORA, Axis, GridRequest
from lora_studio.lora.names import find_slug, slugs_named


def with_slugs(grid: GridRequest, folder: Path) -> GridRequest:
    """The grid with slugs where its axes name LoRAs of the library's folder by their titles. Other values
    stay. Raises ConfigError, StoreError for a title that several have."""
    axes = {name: axis for name in AXES if (axis := getattr(grid, name)) is not None}
    return grid.model_copy(update={name: _with_slugs(axis, folder) for name, axis in axes.items()})


def _with_slugs(axis: Axis, folder: Path) -> Axis:
    if axis.name in OF_A_LORA and axis.slug:
        return axis.model_copy(update={"parameter": f"{axis.name}:{_slug(axis.slug, folder)}"})
    if axis.name != "lora":
        return axis
    values = (_value(value, folder) for value in split_values(axis.values))
    return axis.model_copy(update={"values": ", ".join(values) or axis.values})


def _value(value: str, folder: Path) -> str:
    """The quoted slug, with its weight, for `name` or `name:0.8`; a title may hold a colon itself."""
    name, colon, weight = value.rpartition(":")
    if not colon or slugs_named(value, folder):
        return _quoted(_slug(value, folder))
    return _quoted(f"{_slug(name, folder)}:{weight}")


def _slug(name: str, folder: Path) -> str:
    return find_slug(name, folder) if slugs_named(name, folder) else name


def _quoted(value: str) -> str:
    """A value in the form that `split_values` reads back."""
    return f'"{value.replace(chr(34), chr(34) * 2)}"' if "," in value or '"' in value else value
