"""The base model and the number format of the maths."""

from __future__ import annotations

from typing import Literal

from lora_studio.config_groups.base import Group, setting


class ModelGroup(Group):
    pretrained_model_name_or_path: str = setting(
        ...,
        "The base model: a name from the catalog, a diffusers folder, a .safetensors checkpoint or a hub id.",
        basic=True,
        min_length=1,
    )
    v_parameterization: bool | None = setting(
        None, "Train for v-prediction. Empty: what the base model itself says."
    )
    clip_skip: int | None = setting(
        None,
        "Take the text encoder's output this many layers before the end. Empty or 1: the last layer.",
        ge=1,
        le=12,
    )
    mixed_precision: Literal["auto", "no", "bf16"] = setting(
        "auto",
        "Number format of the heavy maths. auto takes bf16 where the hardware computes it natively; LoRA "
        "weights always stay in 32 bit.",
    )
