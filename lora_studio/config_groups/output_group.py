"""Files of a run: names, places, intervals."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

from lora_studio.config_groups.setting_group import Group, setting
from lora_studio.parsing.file_names import RESERVED
from lora_studio.parsing.slugs import SLUG


class OutputGroup(Group):
    """Settings of the files of a run."""

    output_name: str = setting(
        ...,
        "The LoRA's name: lower-case letters, digits and hyphens. It becomes folder and file name.",
        basic=True,
        min_length=1,
        max_length=64,
    )
    output_dir: str = setting(..., "Folder that receives the result.", min_length=1)
    title: str = setting("", "The name as people wrote it.", max_length=120)
    save_every_n_steps: int | None = setting(
        None,
        "A checkpoint every so many steps. Empty: eight times a run, evenly. 0: only the end.",
        unit="steps",
        ge=0,
    )
    save_state_every_n_steps: int | None = setting(
        None,
        "Save the state that a run is resumed from every so many steps. Empty: every few seconds, as long as "
        "it costs less than 2 % of the time. 0: only when the run is paused or stopped.",
        unit="steps",
        ge=0,
    )
    save_state_every_n_minutes: float | None = setting(
        None, "Save the state every so many minutes, too. Empty: not by the clock.", unit="minutes", gt=0
    )
    save_precision: Literal["float", "fp16", "bf16"] = setting(
        "float", "Number format in the file. fp16 halves it; the pictures stay practically the same."
    )
    training_comment: str = setting("", "A note kept in the file.", max_length=2000)

    @field_validator("output_name")
    @classmethod
    def _slug(cls, value: str) -> str:
        if not SLUG.fullmatch(value):
            raise ValueError("use lower-case letters, digits and hyphens, beginning with a letter or digit")
        if RESERVED.fullmatch(value):
            raise ValueError("Windows keeps this name for a device; choose another")
        return value
