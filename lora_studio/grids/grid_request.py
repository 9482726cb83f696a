"""The request of an X/Y/Z grid and its result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from lora_studio.parsing.refusals import Refusing
from lora_studio.records import ImageRecord
from lora_studio.request import GenerateRequest

MOST_CELLS = 120
AXES = ("x", "y", "z")
PARAMETERS: Mapping[str, str] = {
    "seed": "Seed",
    "num_inference_steps": "Steps",
    "guidance_scale": "CFG scale",
    "sampler": "Sampler",
    "prompt_replace": "Prompt S/R",
    "lora": "LoRA",
    "lora_weight": "LoRA weight",
    "lora_text_encoder_weight": "LoRA text encoder weight",
    "lora_checkpoint": "LoRA checkpoint",
    "base": "Base model",
    "style": "Style",
    "prompt": "Prompt",
    "negative_prompt": "Negative prompt",
    "size": "Size",
    "width": "Width",
    "height": "Height",
    "clip_skip": "Clip skip",
    "guidance_rescale": "Guidance rescale",
    "distilled_guidance_scale": "Distilled CFG scale",
    "shift": "Shift",
    "variation_seed": "Variation seed",
    "variation_strength": "Variation strength",
    "strength": "Denoising strength",
    "mask_blur": "Mask blur",
    "padding_mask_crop": "Masked area padding",
    "hires_scale": "Hires upscale",
    "hires_steps": "Hires steps",
    "hires_strength": "Hires denoising strength",
    "hires_upscaler": "Hires upscaler",
    "insert_trigger": "Trigger words",
}
"""Parameters that can lie on an axis, with their titles. The three of a LoRA take its slug after a colon, as
in `lora_weight:ink`; without one they mean every LoRA of the request."""
AXIS_NAMES: Mapping[str, str] = {axis: f"The axis {axis.upper()}" for axis in AXES} | {
    f"{axis}.{part}": f"{axis.upper()} {title}"
    for axis in AXES
    for part, title in (("parameter", "changes"), ("values", "values"))
}
"""Names of the fields on the page, for error messages."""
OF_A_LORA = ("lora_weight", "lora_text_encoder_weight", "lora_checkpoint")


class Axis(BaseModel):
    """One axis. `parameter` is a key of PARAMETERS. `values` is a line: `1, 2, 3`, a range `1-10 (+3)` by
    steps or `5-30 [6]` by number; text with a comma goes in double quotes. The first value of "Prompt S/R" is
    the text to search for, and all of them take its place in turn."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    parameter: str = Field(max_length=100)
    values: str = Field(min_length=1, max_length=8000)

    @property
    def name(self) -> str:
        """The parameter without the slug."""
        return self.parameter.partition(":")[0]

    @property
    def slug(self) -> str:
        return self.parameter.partition(":")[2]

    @property
    def title(self) -> str:
        return f"{PARAMETERS.get(self.name, self.name)}{f' {self.slug}' if self.slug else ''}"


class GridRequest(Refusing):
    """A grid of up to three axes. `request` draws each picture but for what the axes change; its count is not
    used. X runs to the right, Y down, and each value of Z is a grid of its own below the last."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    names: ClassVar[Mapping[str, str]] = AXIS_NAMES

    request: GenerateRequest
    x: Axis
    y: Axis | None = None
    z: Axis | None = None

    @property
    def axes(self) -> tuple[Axis | None, Axis | None, Axis | None]:
        return self.x, self.y, self.z


@dataclass(frozen=True, kw_only=True)
class GridResult:
    """A drawn grid. `cells` lie as on the sheet: X fastest, then Y, then Z; None where a grid was stopped
    before its turn, or where nothing could be drawn. `reused` counts those that were in the gallery before.
    `sheet` is the picture of all; None when there isn't a single cell. `failure` is a sentence on why the
    grid ended early."""

    sheet: ImageRecord | None
    cells: tuple[ImageRecord | None, ...]
    columns: int
    rows: int
    reused: int = 0
    stopped: bool = False
    failure: str = ""
