"""The training that a set of pictures is checked for, from a base's name. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lora_studio.catalog import plan, sizes_for
from lora_studio.config import TrainConfig
from lora_studio.config_groups.dataset_group import Kind
from lora_studio.data.buckets import bucketing_for
from lora_studio.data.checks.checked_set import CheckOptions
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
    """The treatment of pictures by a training of a `kind` on a base. `values` are settings of pictures, and
    max_token_length, that differ from what suits base and kind. Raises ModelFileError, ConfigError."""
    found, chosen = find_base(base, settings), dict(values or {})
    traits, tokens = found.traits, chosen.pop("max_token_length", None)
    suited = {**plan(kind, traits, 1).values, **chosen}
    if "resolution" in chosen:
        suited |= sizes_for(chosen["resolution"], traits.step)
    paths = dict.fromkeys(("train_data_dir", "output_dir", "output_name"), "checked")
    data = TrainConfig.from_values({**suited, **paths, "pretrained_model_name_or_path": base}).dataset
    return CheckOptions(
        bucketing=bucketing_for(data, traits.step),
        native_size=traits.native_size,
        base_title=traits.title,
        trigger=trigger,
        kind=kind,
        batch_size=data.train_batch_size,
        caption_length=caption_length(found, tokens),
    )
