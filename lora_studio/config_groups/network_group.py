"""The network: its kind, its size, its layers, and its first weights."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import field_validator

from lora_studio.config_groups.setting_group import Group, setting
from lora_studio.parsing.numbers import NUMBER, parse_decimal, parse_whole

Algo = Literal["lora", "loha", "lokr", "diag-oft"]
CURVES = ("cosine", "sine", "linear", "reverse_linear", "zeros")
CURVE = re.compile(rf"({'|'.join(CURVES)})(\+{NUMBER}(?:[eE]-?\d{{1,2}})?)?")
BLOCKS_HELP = "one number for each block: 25 for SD 1.x and 2.x (12 down, the middle, 12 up), 23 for SDXL"


class NetworkGroup(Group):
    """Settings of the network."""

    network_dim: int = setting(
        4,
        "Rank: how much the LoRA can hold. 4 to 8 for an object, 16 to 32 for a person or a style; the file "
        "grows with it.",
        basic=True,
        ge=1,
        le=512,
    )
    network_alpha: float = setting(
        4.0,
        "Strength of the rank. The effect is scaled by alpha / dim; equal to dim, or 0, means 1.",
        ge=0,
        le=512,
    )
    algo: Algo = setting(
        "lora",
        "Kind of network. lora is what every program reads. loha and lokr hold more in a smaller file; "
        "diag-oft turns the base's own weights. Which program reads what: the table in docs/guide/files.md.",
    )
    conv_dim: int | None = setting(
        None,
        "Rank for the 3x3 convolutions; with it, all layers of the residual blocks are trained too (LoCon). "
        "Empty: attention layers only.",
        ge=1,
        le=512,
    )
    conv_alpha: float | None = setting(
        None, "Strength of conv_dim's rank. Empty: 1; 0: equal to conv_dim.", ge=0, le=512
    )
    dora_wd: bool = setting(
        False, "DoRA: learn each layer's magnitude apart from its direction. Slower, often closer."
    )
    wd_on_output: bool = setting(
        False,
        "DoRA's magnitudes belong to the outputs (as in LyCORIS and PEFT) instead of the inputs. Other "
        "programs read only those of the inputs exactly.",
    )
    factor: int = setting(
        -1, "lokr: size of the smaller of its two matrices. -1: as square as possible.", ge=-1, le=4096
    )
    decompose_both: bool = setting(False, "lokr: give the smaller matrix a rank too.")
    full_matrix: bool = setting(False, "lokr: give neither matrix a rank; network_dim is then unused.")
    constraint: float = setting(
        0.0, "diag-oft: how far the weights may be turned. 0: as far as they like.", ge=0, le=1
    )
    network_dropout: float = setting(
        0.0, "Share of the rank dropped at each step, against overfitting.", ge=0, lt=1
    )
    rank_dropout: float = setting(
        0.0,
        "Chance that one rank is left out for one picture; the others are scaled up. With other kinds than "
        "lora: that one output row is left out.",
        ge=0,
        lt=1,
    )
    module_dropout: float = setting(0.0, "Chance that a layer's change is left out in a step.", ge=0, lt=1)
    scale_weight_norms: float | None = setting(
        None, "After each step, scale down the layers whose change is larger than this. Usually 1.", gt=0
    )
    network_train_unet_only: bool = setting(
        False, "Leave the text encoder as it is. Less memory, smaller file; best for styles."
    )
    network_train_text_encoder_only: bool = setting(False, "Leave the denoiser as it is.")
    block_dims: str = setting("", f"Ranks by block: {BLOCKS_HELP}. 0: no LoRA there.", max_length=500)
    block_alphas: str = setting("", f"Alphas by block: {BLOCKS_HELP}.", max_length=500)
    conv_block_dims: str = setting(
        "", f"Ranks of the 3x3 convolutions by block: {BLOCKS_HELP}.", max_length=500
    )
    conv_block_alphas: str = setting(
        "", f"Alphas of the 3x3 convolutions by block: {BLOCKS_HELP}.", max_length=500
    )
    down_lr_weight: str = setting(
        "",
        "Factors of the rate in the denoiser's first half: 12 numbers (SDXL: 9), or a curve: cosine, sine, "
        "linear, reverse_linear, zeros, with an offset if wanted, as in cosine+0.25.",
        max_length=500,
    )
    mid_lr_weight: str = setting(
        "", "Factor of the rate in the denoiser's middle (SDXL: 3 numbers).", max_length=100
    )
    up_lr_weight: str = setting(
        "", "Factors of the rate in the denoiser's second half, as in down_lr_weight.", max_length=500
    )
    block_lr_zero_threshold: float = setting(
        0.0, "Blocks whose factor is not above this get no LoRA at all.", ge=0, le=100
    )
    loraplus_lr_ratio: float | None = setting(
        None, "LoRA+: the rate of the up matrices is this many times higher. The paper: 16.", gt=0, le=1000
    )
    loraplus_unet_lr_ratio: float | None = setting(
        None, "LoRA+ for the denoiser only. Empty: loraplus_lr_ratio.", gt=0, le=1000
    )
    loraplus_text_encoder_lr_ratio: float | None = setting(
        None, "LoRA+ for the text encoder only. Empty: loraplus_lr_ratio.", gt=0, le=1000
    )
    network_weights: str = setting(
        "", "Start from this LoRA file instead of from nothing. Its steps don't count.", local=True
    )
    dim_from_weights: bool = setting(
        False,
        "Take rank and alpha of each layer from the file of network_weights, and train only its layers.",
    )
    base_weights: tuple[str, ...] = setting(
        (), "LoRA files that are merged into the base model before the training.", local=True
    )
    base_weights_multiplier: tuple[float, ...] = setting(
        (), "Strengths of base_weights, in the same order. Missing ones: 1."
    )

    @field_validator("base_weights", mode="before")
    @classmethod
    def _split_lines(cls, value: Any) -> Any:
        """Paths on lines or between semicolons, as a list: they may hold spaces and commas."""
        return tuple(part for part in _parts(value, r"[;\n]")) if isinstance(value, str) else value

    @field_validator("base_weights_multiplier", mode="before")
    @classmethod
    def _split_numbers(cls, value: Any) -> Any:
        return tuple(_parts(value, r"[,;\s]+")) if isinstance(value, str) else value

    @field_validator("block_dims", "conv_block_dims")
    @classmethod
    def _whole_numbers(cls, value: str) -> str:
        if not all(part.isdecimal() and parse_whole(part) is not None for part in _parts(value, ",")):
            raise ValueError("must be whole numbers with commas between them")
        return value

    @field_validator("block_alphas", "conv_block_alphas")
    @classmethod
    def _numbers(cls, value: str) -> str:
        _floats(value)
        return value

    @field_validator("down_lr_weight", "mid_lr_weight", "up_lr_weight")
    @classmethod
    def _curve_or_numbers(cls, value: str, info: Any) -> str:
        if info.field_name == "mid_lr_weight" or not CURVE.fullmatch(value.strip()):
            _floats(value)
        return value

    @property
    def is_plain(self) -> bool:
        """Whether the network is that of Kohya's own networks.lora."""
        return self.algo == "lora" and not self.dora_wd


def _parts(text: str, separator: str) -> list[str]:
    return [part.strip() for part in re.split(separator, text) if part.strip()]


def _floats(text: str) -> None:
    if any(part and parse_decimal(part) is None for part in text.split(",")):
        raise ValueError("must be numbers with commas between them")
