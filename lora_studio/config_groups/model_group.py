"""The base model and the number format of the maths."""

from __future__ import annotations

from typing import Literal

from lora_studio.config_groups.setting_group import Group, setting


class ModelGroup(Group):
    """Settings of the base model."""

    pretrained_model_name_or_path: str = setting(
        ...,
        "The base model: a name from the catalog, a diffusers folder, a .safetensors checkpoint or a hub id.",
        basic=True,
        min_length=1,
    )
    train_distilled: bool = setting(
        False,
        "Train this base although its name or its files say that it is distilled for few steps: for one "
        "whose distilling was undone.",
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
    max_token_length: int | None = setting(
        None,
        "Longest caption: 75, 150 or 225 tokens (a token is a short word or part of one). What is longer is "
        "cut off. Empty: 75.",
        unit="tokens",
        ge=75,
        le=225,
        multiple_of=75,
    )
    weighted_captions: bool = setting(
        False, "Read weights in captions: (word) is 1.1, (word:1.3) is 1.3, [word] is 1 / 1.1."
    )
    mixed_precision: Literal["auto", "no", "fp16", "bf16"] = setting(
        "auto",
        "Number format of the heavy maths. auto takes bf16 where the hardware computes it natively; fp16 is "
        "for older graphics cards. LoRA weights always stay in 32 bit.",
    )
    fp8_base_unet: bool = setting(
        False,
        "Hold the base's denoiser in 8 bits: half the memory of 16, each step a little slower, the result a "
        "little different. Wants gradient_checkpointing.",
    )
    qtype: Literal["none", "qfloat8", "qint8", "nf4"] = setting(
        "none",
        "Hold the base's denoiser in this format: 8 bits as fp8_base_unet does (qfloat8), 8 bits about three "
        "times nearer to the base (qint8), or 4 bits, half the memory and ten times further (nf4). Wants "
        "gradient_checkpointing.",
    )
    qtype_te: Literal["none", "qfloat8", "qint8", "nf4"] = setting(
        "none",
        "Hold the text encoders in one of these formats, as qtype holds the denoiser. They stand beside it "
        "until all captions are read, and large ones (T5, Qwen) take as much memory as it does.",
    )
    blocks_to_swap: int = setting(
        0,
        "Transformer blocks of the base's denoiser that wait in the machine's memory and come to the device "
        "for their turn: all but two of them are memory saved there. The result is the same, each step "
        "takes longer. Wants gradient_checkpointing.",
        unit="blocks",
        ge=0,
        le=200,
    )

    @property
    def held_as(self) -> str:
        """The format of few bits that the denoiser is held in; empty for none."""
        if self.qtype != "none":
            return self.qtype
        return "qfloat8" if self.fp8_base_unet else ""
