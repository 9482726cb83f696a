"""The groups of settings that make up a TrainConfig: name, default, range, unit and help of each.

Names are Kohya's wherever sd-scripts has the option; leaf names are unique across the groups.
"""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")

Kind = Literal["person", "style", "object", "character"]
Scheduler = Literal["constant", "constant_with_warmup", "linear", "cosine"]


def setting(default: Any, help_text: str, *, unit: str = "", basic: bool = False, **limits: Any) -> Any:
    """A field with its help, unit and limits; `basic` ones are shown without opening the advanced options."""
    return Field(default, description=help_text, json_schema_extra={"unit": unit, "basic": basic}, **limits)


class Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


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


class DatasetGroup(Group):
    train_data_dir: str = setting(
        ...,
        "Folder with the pictures: either pictures directly, or Kohya's layout of <repeats>_<class> folders.",
        basic=True,
        min_length=1,
    )
    kind: Kind = setting(
        "object", "What the pictures show. It picks the preset and the prompts of the previews.", basic=True
    )
    trigger_word: str = setting(
        "",
        "The word that calls your subject up later. It is put in front of each caption that lacks it.",
        basic=True,
        max_length=64,
    )
    resolution: int = setting(
        512,
        "Side of the training pictures. Use the base model's native size: 512 for SD 1.5.",
        unit="px",
        basic=True,
        ge=32,
        le=2048,
        multiple_of=8,
    )
    train_batch_size: int = setting(
        1,
        "Pictures in one step. More is steadier and needs more memory.",
        unit="images",
        basic=True,
        ge=1,
        le=64,
    )
    num_repeats: int = setting(
        1,
        "How often one pass over the folder shows each picture. Kohya folders bring their own number.",
        unit="times",
        ge=1,
        le=1000,
    )
    caption_extension: str = setting(
        "", "Read captions only from files with this ending. Empty: .txt, then .caption.", max_length=16
    )
    enable_bucket: bool = setting(
        True,
        "Keep each picture's shape by sorting pictures into buckets of similar proportions. Off: crop to a "
        "square.",
    )
    min_bucket_reso: int = setting(256, "Shortest side of a bucket.", unit="px", ge=8, le=4096)
    max_bucket_reso: int = setting(1024, "Longest side of a bucket.", unit="px", ge=8, le=4096)
    bucket_reso_steps: int = setting(64, "Bucket sides are multiples of this.", unit="px", ge=8, le=256)
    bucket_no_upscale: bool = setting(False, "Never enlarge a picture to fill its bucket.")
    flip_aug: bool = setting(
        False,
        "Show a picture mirrored half of the time. Not for faces, text or anything with a left and a right.",
    )
    caption_dropout_rate: float = setting(
        0.0, "Share of steps without caption, so that the subject also sticks without words.", ge=0, le=1
    )
    shuffle_caption: bool = setting(False, "Shuffle the comma-separated parts of a caption at each use.")
    keep_tokens: int = setting(
        0, "Leave this many first parts in place when shuffling.", unit="parts", ge=0, le=32
    )
    cache_latents: bool = setting(
        True, "Encode each picture once before training instead of at each step. Faster, same result."
    )
    cache_text_encoder_outputs: bool = setting(
        True, "Encode each caption once when the text encoder isn't trained. Faster, same result."
    )


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


class OptimizerGroup(Group):
    max_train_steps: int = setting(
        1000,
        "How many steps to train. Too few: the subject doesn't show. Too many: every picture looks like the "
        "training set.",
        unit="steps",
        basic=True,
        ge=1,
        le=1_000_000,
    )
    learning_rate: float = setting(
        1e-4, "Size of each step. Twice as high learns faster and breaks sooner.", basic=True, gt=0, le=1
    )
    unet_lr: float | None = setting(None, "Learning rate of the denoiser. Empty: learning_rate.", ge=0, le=1)
    text_encoder_lr: float | None = setting(
        None,
        "Learning rate of the text encoder, usually a tenth to a half. Empty: learning_rate. 0: not trained.",
        ge=0,
        le=1,
    )
    lr_scheduler: Scheduler = setting(
        "constant",
        "How the learning rate moves: constant, or falling along a cosine or a line; warm-up makes it "
        "rise first.",
        basic=True,
    )
    lr_warmup_steps: int = setting(0, "Steps over which the learning rate rises from 0.", unit="steps", ge=0)
    optimizer_type: Literal["AdamW"] = setting("AdamW", "How the weights follow the gradient.")
    weight_decay: float = setting(0.01, "Pull of the LoRA weights towards 0.", ge=0, le=1)
    gradient_accumulation_steps: int = setting(
        1,
        "Add up this many batches before each step: a large batch in the memory of a small one.",
        unit="batches",
        ge=1,
        le=256,
    )
    gradient_checkpointing: bool = setting(
        False, "Compute parts twice to save memory. About 1.5 times slower."
    )
    max_grad_norm: float = setting(1.0, "Cut larger gradients down to this length. 0: never.", ge=0, le=1000)
    seed: int = setting(
        42, "Start of all random numbers. Same seed, same result.", basic=True, ge=0, le=2**32 - 1
    )


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


class PreviewGroup(Group):
    sample_prompts: tuple[str, ...] = setting(
        (), "Prompts of the previews. Empty: prompts about your subject are chosen by its kind."
    )
    sample_every_n_steps: int | None = setting(
        None, "A preview every so many steps. Empty: four times a run. 0: none.", unit="steps", ge=0
    )
    sample_steps: int = setting(20, "Denoising steps of a preview.", unit="steps", ge=1, le=200)
    sample_guidance: float = setting(7.5, "Guidance scale of a preview.", ge=0, le=30)
    sample_seed: int = setting(
        1,
        "Seed of the first preview; the others count up. The picture with and without LoRA share it.",
        ge=0,
        le=2**32 - 1,
    )


class OutputGroup(Group):
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
        None, "A checkpoint every so many steps. Empty: at each preview. 0: only the end.", unit="steps", ge=0
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
        return value
