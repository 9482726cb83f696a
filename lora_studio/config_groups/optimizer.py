"""How long, how fast and by which rule the weights move."""

from __future__ import annotations

from typing import Literal

from lora_studio.config_groups.base import Group, setting

Scheduler = Literal["constant", "constant_with_warmup", "linear", "cosine"]


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
