"""The engine of a training: this program, or the user's own sd-scripts."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import field_validator, model_validator

from lora_studio.config_groups.setting_group import Group, setting


class RunGroup(Group):
    """Settings of the engine."""

    engine: Literal["lora-studio", "sd-scripts"] = setting(
        "lora-studio",
        "What does the training. sd-scripts: your own checkout, which LORA_STUDIO_SD_SCRIPTS names; see "
        "docs/kohya.md.",
        local=True,
    )
    sd_scripts_args: tuple[str, ...] = setting(
        (),
        "Further options for sd-scripts, each a line of its argument TOML. They win over the settings here.",
        local=True,
    )

    @field_validator("sd_scripts_args", mode="before")
    @classmethod
    def _split_lines(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(line.strip() for line in value.splitlines() if line.strip())
        return value

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.sd_scripts_args and self.engine != "sd-scripts":
            raise ValueError("sd_scripts_args needs the engine sd-scripts")
        return self
