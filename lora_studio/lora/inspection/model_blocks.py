"""The block of the base model that a layer belongs to, by Kohya's name of the layer."""

from __future__ import annotations

import re

PARTS = {
    "lora_unet_": "denoiser",
    "lora_te_": "text encoder",
    "lora_te1_": "text encoder",
    "lora_te2_": "text encoder 2",
    "lora_te3_": "text encoder 3",
}
MIDDLE = re.compile(r"mid(?:dle)?_block_")
NUMBERED = re.compile(r"(?:text_model_encoder_|model_)?([a-z_]{1,60}?)_(\d{1,4})_")


def block_of(layer: str) -> str:
    """A name such as `denoiser, down_blocks.1`, `denoiser, double_blocks.7` or `text encoder, layers.3`;
    `..., other layers` for one that stands outside of the numbered blocks."""
    start, part = next(((start, part) for start, part in PARTS.items() if layer.startswith(start)), ("", ""))
    path = layer.removeprefix(start or "lora_")
    if MIDDLE.match(path):
        return f"{part or 'denoiser'}, mid_block"
    match = NUMBERED.match(path)
    return f"{part or 'denoiser'}, {f'{match[1]}.{match[2]}' if match else 'other layers'}"
