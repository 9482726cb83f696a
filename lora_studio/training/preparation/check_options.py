"""The training that a set of pictures is checked for, from a base's name. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lora_studio.catalog import plan, sizes_for
from lora_studio.config import TrainConfig
from lora_studio.config_groups.dataset_group import DatasetGroup, Kind
from lora_studio.data.buckets import bucketing_for
from lora_studio.data.checks.checked_set import CheckOptions
from lora_studio.families.base_files.found_base import FoundBase
from lora_studio.families.base_files.locate import find_base
from lora_studio.families.encoders.caption_length import caption_length
from lora_studio.settings import Settings


def options_for(
    base: str,
    settings: Settings,
    *,
    kind: Kind = "object",
    trigger: str = "",
    values: Mapping[str, Any] | None = None,
) -> CheckOptions:
    """The treatment of pictures by a training of a `kind` on a base. `values` are settings that differ from
    what suits base and kind. Raises ModelFileError, ConfigError."""
    found, data = pictures_settings(base, settings, kind=kind, values=values)
    return CheckOptions(
        bucketing=bucketing_for(data, found.traits.step),
        native_size=found.traits.native_size,
        base_title=found.traits.title,
        trigger=trigger,
        kind=kind,
        batch_size=data.train_batch_size,
        caption_length=caption_length(found, (values or {}).get("max_token_length")),
    )


def pictures_settings(
    base: str, settings: Settings, *, kind: Kind = "object", values: Mapping[str, Any] | None = None
) -> tuple[FoundBase, DatasetGroup]:
    """The base, and the settings of pictures of a training on it, as for `options_for`. Raises
    ModelFileError, ConfigError."""
    found, chosen = find_base(base, settings), dict(values or {})
    paths = dict.fromkeys(("train_data_dir", "output_dir", "output_name"), "checked")
    suited = {**plan(kind, found.traits, 1).values, **paths, "pretrained_model_name_or_path": base}
    data = TrainConfig.from_values({**suited, **chosen}).dataset
    if "resolution" in chosen:
        suited |= sizes_for(data.resolution, found.traits.step)
        data = TrainConfig.from_values({**suited, **chosen}).dataset
    return found, data
