"""The LoRA itself."""

from __future__ import annotations

from lora_studio.config_groups.base import Group, setting


class NetworkGroup(Group):
    network_dim: int = setting(
        4,
        "Rank: how much the LoRA can hold. 4 to 8 for an object, 16 to 32 for a person or a style; the file "
        "grows with it.",
        basic=True,
        ge=1,
        le=512,
    )
    network_alpha: float = setting(
        4.0, "Strength of the rank. The effect is scaled by alpha / dim; equal to dim means 1.", gt=0, le=512
    )
    network_dropout: float = setting(
        0.0, "Share of the rank dropped at each step, against overfitting.", ge=0, lt=1
    )
    network_train_unet_only: bool = setting(
        False, "Leave the text encoder as it is. Less memory, smaller file; best for styles."
    )
