"""An entry of the catalog of base models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from lora_studio.samplers import FLOW_SAMPLERS, SAMPLERS


@dataclass(frozen=True, kw_only=True)
class LongText:
    """The reading of a text as one, whatever its length, by the tokenizers of these folders: up to `limit`
    tokens of each. `as_message`: put into the tokenizer's chat template, whose tokens count; `thinks`: into
    the one that lets the model think before it answers."""

    limit: int = 512
    as_message: bool = False
    thinks: bool = True
    tokenizers: tuple[str, ...] = ("tokenizer",)


@dataclass(frozen=True, kw_only=True)
class Base:
    """A base model people can pick by name. `source` is a hub id (a repository in diffusers' layout, or a
    checkpoint file in one), or empty for an embedded one.

    `step` is the multiple that image sides must keep; `download_bytes` is 0 when nothing is fetched;
    `regularisation` names a folder inside the base's own with pictures that keep a LoRA to its subject.
    `distilled_guidance_scale` is what it is told where it takes a guidance. `flow_matching`: it is made for
    flow matching, and drawn with FLOW_SAMPLERS. `long_text` is how it reads texts where CLIP doesn't. `half`
    is the number format of half precision that it is drawn and trained in; `train_instead`, for a base that
    is distilled for few steps and loses that by training, the base that LoRAs for it are trained on.
    `card_gb` is the memory of a graphics card that LoRAs are trained on it with, at its native size, and
    `weights_bytes` what its weights take while it draws, where that is not what is downloaded; 0 where nobody
    has found out.
    `training` and `kinds` are settings that differ from the presets, for all kinds and by kind.
    """

    name: str
    title: str
    family: str
    source: str
    native_size: int
    step: int = 8
    download_bytes: int = 0
    weights_bytes: int = 0
    card_gb: int = 0
    licence: str = ""
    note: str = ""
    sampler: str = "DPM++ 2M Karras"
    num_inference_steps: int = 25
    guidance_scale: float = 7.5
    distilled_guidance_scale: float = 3.5
    regularisation: str = ""
    predicts_velocity: bool = False
    zero_snr: bool = False
    flow_matching: bool = False
    long_text: LongText | None = None
    half: Literal["fp16", "bf16"] = "fp16"
    train_instead: str = ""
    training: Mapping[str, Any] = field(default_factory=dict)
    kinds: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def samplers(self) -> tuple[str, ...]:
        """Names of the samplers that it can be drawn with."""
        return tuple(FLOW_SAMPLERS if self.flow_matching else SAMPLERS)
