"""What a person asks the generator for, and what comes back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lora_studio.errors import ConfigError

MAX_SEED = 2**32 - 1


class LoraUse(BaseModel):
    """One LoRA of the stack: its slug in the library and its weight (0 off, 1 as trained)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    slug: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$", description="The LoRA's slug in the library.")
    weight: float = Field(1.0, ge=-4, le=4, description="0 is off, 1 as trained.")


class GenerateRequest(BaseModel):
    """Names are diffusers' own. `width`, `height`, `num_inference_steps` and `guidance_scale` left empty
    take the base model's values from the catalog; `seed` left empty is drawn, and image i of `count` uses
    seed + i."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    prompt: str = Field("", max_length=2000, description="What the picture shows.")
    negative_prompt: str = Field("", max_length=2000, description="What it must not show.")
    base: str = Field(
        "starter", min_length=1, description="A catalog name, folder, checkpoint file or hub id."
    )
    loras: tuple[LoraUse, ...] = Field((), description="LoRAs with their weights; any number.")
    insert_trigger: bool = Field(
        True, description="Put a LoRA's trigger word in front when the prompt lacks it."
    )
    num_inference_steps: int | None = Field(None, ge=1, le=200, description="Denoising steps.")
    guidance_scale: float | None = Field(None, ge=0, le=30, description="How closely to follow the prompt.")
    width: int | None = Field(None, ge=32, le=2048, multiple_of=8, description="Pixels.")
    height: int | None = Field(None, ge=32, le=2048, multiple_of=8, description="Pixels.")
    seed: int | None = Field(None, ge=0, le=MAX_SEED, description="Same seed, same picture. Empty: drawn.")
    count: int = Field(1, ge=1, le=16, description="How many pictures.")
    sampler: str = Field("", description="A sampler's name from the catalog. Empty: the base model's own.")

    @classmethod
    def build(cls, **values: Any) -> GenerateRequest:
        """As the constructor, with errors as one sentence. Raises ConfigError."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            name = ".".join(str(part) for part in problem["loc"])
            said = problem["msg"].removeprefix("Value error, ")
            hint = ""
            if problem["type"] == "multiple_of":
                step = problem["ctx"]["multiple_of"]
                hint = f"The nearest is {round(float(problem['input']) / step) * step}."
            raise ConfigError(
                f"{name}: {said[0].lower()}{said[1:]} (got {problem['input']!r}).", hint, field=name
            ) from None


@dataclass(frozen=True, kw_only=True)
class GeneratedImage:
    """A finished PNG on disk. `infotext` is the A1111 line inside it; `request` has all values filled in
    and the seed of this very image."""

    path: str
    width: int
    height: int
    seed: int
    infotext: str
    request: GenerateRequest
