"""The sizes that a training cuts pictures to, for the frame of a crop. They are asked for when one is opened,
so that what was typed until then counts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, get_args

import gradio as gr

from lora_studio.catalog import STARTER
from lora_studio.config_groups.dataset_group import Kind
from lora_studio.data.buckets import bucketing_for
from lora_studio.errors import ConfigError
from lora_studio.settings import Settings
from lora_studio.ui.client_input.validate import quietly, safe_base
from lora_studio.ui.widgets.html_templates import fill, panel
from lora_studio.ui.widgets.settings_form import overrides

BUCKETED = (
    *("resolution", "resolution_height", "enable_bucket", "min_bucket_reso", "max_bucket_reso"),
    *("bucket_reso_steps", "bucket_no_upscale"),
)
"""Settings that decide the buckets."""


def render() -> gr.HTML:
    """Create the component that holds the sizes for the page's script; nobody sees it."""
    return panel(elem_id="upload-buckets")


def listen(pictures: gr.HTML, buckets: gr.HTML, inputs: Sequence[Any], settings: Settings) -> None:
    """Fill `buckets` when `pictures` opens a crop. `inputs` are those of base, kind and BUCKETED."""

    def tell_buckets(*values: Any) -> str:
        return buckets_of(values, settings)

    pictures.select(
        quietly(tell_buckets, gr.skip),
        list(inputs),
        buckets,
        queue=False,
        api_visibility="private",
        show_progress="hidden",
    )


def buckets_of(values: Sequence[Any], settings: Settings) -> str:
    """HTML with the sizes as JSON, [width, height] each, from base, kind and BUCKETED as the browser sent
    them; none where each picture has a size of its own. What is half typed is left out. Raises
    ModelFileError, ConfigError."""
    from lora_studio.training.preparation.check_options import pictures_settings

    base, kind, *typed = values
    name = safe_base(base or STARTER.name, settings)
    shown_kind: Kind = next((one for one in get_args(Kind) if one == kind), "object")
    given = dict(zip(BUCKETED, typed, strict=True))
    try:
        found, data = pictures_settings(name, settings, kind=shown_kind, values=overrides(given))
    except ConfigError as error:
        fields = {one.field for one in error.each}
        whole = {field: value for field, value in given.items() if field not in fields}
        found, data = pictures_settings(name, settings, kind=shown_kind, values=overrides(whole))
    return fill("buckets", buckets=json.dumps(bucketing_for(data, found.traits.step).buckets))
