"""The engine of a training, and the processes and the machine that run it."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import field_validator, model_validator

from lora_studio.config_groups.setting_group import Group, setting


class RunGroup(Group):
    """Settings of the engine and of the place where it runs."""

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

    worker: Literal["thread", "process", "modal"] = setting(
        "thread",
        "Where the training runs. thread: inside this program, which gives way to generations between steps; "
        "process: in a child process, which gives all memory back at its end and may fall without taking the "
        "page along; modal: on a rented graphics card at Modal, where the owner allows it. See "
        "docs/deploy.md.",
    )
    num_processes: int = setting(
        1,
        "Processes that train together, one on each graphics card, as in accelerate launch --num_processes. "
        "Each takes train_batch_size pictures a step, so 2 processes of 1 learn as 1 process of 2. More than "
        "1 always run as child processes.",
        ge=1,
        le=64,
    )
    cpu_data_parallel: bool = setting(
        False,
        "Without a graphics card: give each core of the processor pictures of its own in every step, instead "
        "of letting all cores work on one layer after the other. Quicker for small bases with "
        "train_batch_size above 1; the last digits of the result differ.",
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
        if self.engine == "sd-scripts" and self.num_processes > 1:
            raise ValueError("num_processes is for the engine lora-studio; sd-scripts runs as one process")
        if self.worker == "modal" and (self.engine == "sd-scripts" or self.num_processes > 1):
            raise ValueError("worker modal runs the engine lora-studio as one process (num_processes 1)")
        return self
