"""The request of a generation and its result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from lora_studio.parsing.numbers import as_typed
from lora_studio.parsing.refusals import Refusing

MAX_SEED = 2**63 - 1
"""The largest seed that the databases hold. Of any seed, torch's generator on the CPU uses the last 32
bits."""
MOST_DRAWN = 2**32
"""Bound of seeds that are drawn: shorter, exact in JavaScript, and no picture is missed by it."""
LONGEST_PROMPT = 10_000
HASH = r"^(?:[0-9a-f]{64})?$"


class LoraUse(BaseModel):
    """One LoRA of the stack: its slug in the library and its weight (0 off, 1 as trained). Left empty,
    `text_encoder_weight` is the weight; `checkpoint` is a step of its training instead of the LoRA's file."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    slug: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$", description="The LoRA's slug in the library.")
    weight: float = Field(1.0, ge=-4, le=4, description="0 is off, 1 as trained.")
    text_encoder_weight: float | None = Field(
        default=None, ge=-4, le=4, description="The weight in the text encoder. Empty: the same."
    )
    checkpoint: int | None = Field(
        default=None, ge=1, description="A checkpoint's step. Empty: the LoRA's own file."
    )


class GenerateRequest(Refusing):
    """A request for pictures; names are diffusers' own, but for FLUX.1's, where `guidance_scale` is what its
    pipeline calls true_cfg_scale. `width`, `height`, `num_inference_steps` and
    `guidance_scale` left empty take the base model's values from the catalog; `seed` left empty is drawn, and
    image i of `count` uses seed + i; variations of one picture keep the seed and use variation_seed + i.

    `image` and `mask_image` are SHA-256 sums of pictures that were taken in before (`images/input_store.py`):
    with `image` the picture is redrawn (img2img), with both only where the mask is white (inpaint). A
    `hires_scale` above 1 draws at the given size first and then again, larger.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    prompt: str = Field("", max_length=LONGEST_PROMPT, description="What the picture shows.")
    negative_prompt: str = Field("", max_length=LONGEST_PROMPT, description="What it must not show.")
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
    clip_skip: int = Field(
        1, ge=1, le=12, description="Which layer of the text encoder counts, from the end; 1 is the last."
    )
    guidance_rescale: float = Field(
        0.0, ge=0, le=1, description="Takes back the overexposure of a high guidance; 0 is off."
    )
    distilled_guidance_scale: float | None = Field(
        None,
        ge=0,
        le=100,
        description="The guidance that a distilled base is told. Empty: the base's own.",
    )
    shift: float | None = Field(
        None,
        ge=0.01,
        le=100,
        description="How far the steps of a flow model lie towards noise; 1 is even. Empty: the base's own.",
    )
    variation_seed: int | None = Field(
        None, ge=0, le=MAX_SEED, description="Noise of a second seed to mix in. Empty: drawn."
    )
    variation_strength: float = Field(
        0.0, ge=0, le=1, description="How much of the second seed's noise; 0 is off."
    )
    image: str = Field("", pattern=HASH, description="The picture to redraw: its SHA-256 sum.")
    mask_image: str = Field("", pattern=HASH, description="Where to redraw it, white: its SHA-256 sum.")
    strength: float = Field(0.75, gt=0, le=1, description="How far the redrawn picture may go from it.")
    mask_blur: int = Field(4, ge=0, le=64, description="Pixels over which the mask's edge fades.")
    padding_mask_crop: int | None = Field(
        None, ge=0, le=512, description="Redraw only the mask's surroundings, with so many pixels around it."
    )
    hires_scale: float = Field(1.0, ge=1, le=4, description="Draw again at so many times the size; 1 is off.")
    hires_steps: int | None = Field(
        None, ge=1, le=200, description="Steps of the second pass. Empty: as the first."
    )
    hires_strength: float = Field(
        0.55, gt=0, le=1, description="How far the second pass may go from the first."
    )
    hires_upscaler: Literal["lanczos", "latent"] = Field(
        "lanczos", description="What enlarges the first pass's picture."
    )
    image_format: Literal["png", "jpeg", "webp"] = Field("png", description="The file's format.")

    @field_validator("*", mode="before")
    @classmethod
    def _as_typed(cls, value: Any, field: ValidationInfo) -> Any:
        annotation = cls.model_fields[str(field.field_name)].annotation
        kind = next(iter(get_args(annotation)), annotation)
        return as_typed(value, whole=kind is int) if kind in (int, float) else value


@dataclass(frozen=True, kw_only=True)
class GeneratedImage:
    """A finished picture on disk. `infotext` is the A1111 text inside it; `request` has all values filled in
    and the seed of this very image."""

    path: str
    width: int
    height: int
    seed: int
    infotext: str
    request: GenerateRequest
