"""Texts through a base's text encoders, as a test wants to see them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from lora_studio.families.base import BaseModel, TextOutput
from lora_studio.families.encoders.clip_encoder import CaptionWindows, ClipEncoder, PromptWindows


def encode(pipe: Any, prompt: str, negative: str, **how: Any) -> dict[str, torch.Tensor]:
    """With the encoders of a diffusers pipeline, as the arguments of its call."""
    names = [name for name in ("text_encoder", "text_encoder_2") if getattr(pipe, name, None) is not None]
    tokenizers = [getattr(pipe, name.replace("text_encoder", "tokenizer")) for name in names]
    models = [getattr(pipe, name) for name in names]
    encoders = list(zip(names, tokenizers, models, strict=True))
    texts = ClipEncoder(lambda: encoders, tokenizers).encode_prompts(prompt, negative, PromptWindows(**how))
    return prompt_arguments(*texts)


def encode_captions(
    base: BaseModel, captions: Sequence[str], clip_skip: int | None = None, **how: Any
) -> TextOutput:
    return base.prompts.encode_captions(captions, CaptionWindows(clip_skip=clip_skip, **how))


def prompt_arguments(wanted: TextOutput, unwanted: TextOutput) -> dict[str, torch.Tensor]:
    """What a diffusers pipeline is called with in place of prompt and negative prompt."""
    found = {
        "prompt_embeds": wanted.states,
        "negative_prompt_embeds": unwanted.states,
        "pooled_prompt_embeds": wanted.pooled,
        "negative_pooled_prompt_embeds": unwanted.pooled,
    }
    return {name: tensor for name, tensor in found.items() if tensor is not None}
