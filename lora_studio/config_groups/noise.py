"""Noise and loss."""

from __future__ import annotations

from lora_studio.config_groups.base import Group, setting


class NoiseGroup(Group):
    min_snr_gamma: float | None = setting(
        None,
        "Weigh the noise levels evenly (min-SNR, Hang et al. 2023); 5 is the usual value. Empty: off.",
        gt=0,
        le=20,
    )
    noise_offset: float = setting(
        0.0,
        "Shift the noise a little per picture, for deeper blacks and brighter whites; 0.05 to 0.1.",
        ge=0,
        le=1,
    )
    min_timestep: int = setting(0, "Least noise trained on.", ge=0, le=999)
    max_timestep: int = setting(1000, "Most noise trained on.", ge=1, le=1000)
