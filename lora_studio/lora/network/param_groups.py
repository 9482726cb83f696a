"""The optimizer's parameter groups: parts, blocks and LoRA+, in Kohya's order and with its names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from lora_studio.config_groups import NetworkGroup
from lora_studio.errors import ConfigError
from lora_studio.lora.file.keys import UP
from lora_studio.lora.network import kinds
from lora_studio.lora.network.attach import AttachedLora
from lora_studio.lora.network.ranks import block_of, is_original, rate_factors

UNET_PART = "unet"
PLUS = {kinds.LORA: (UP,), kinds.LOHA: ("hada_w1_a", "hada_w2_a"), kinds.LOKR: ("lokr_w1_a", "lokr_w2_a")}
"""The matrices on the side of the outputs, which LoRA+ (Hayou et al. 2024) moves faster."""


def parameter_groups(
    settings: NetworkGroup, lora: AttachedLora, rates: Mapping[str, float]
) -> list[dict[str, Any]]:
    """`params`, `lr` and `name` of each group: text encoders, then the denoiser or each of its blocks, each
    with its up matrices apart if they have a rate of their own. Groups with rate 0 are left out. `rates` go
    by part; a text encoder without its own has the first one's. Raises ConfigError."""
    groups: list[dict[str, Any]] = []
    for part, names in lora.parts.items():
        rate = rates.get(part, rates.get("text_encoder", 0.0))
        plus = _plus_ratio(settings, part)
        if part != UNET_PART:
            title = part.replace("text_encoder", "textencoder").replace("_", " ")
            groups += _groups(lora, names, title=title, rate=rate, plus=plus)
            continue
        factors = rate_factors(settings, names)
        for block in _blocks(names) if factors is not None else ():
            inside = [name for name in names if block_of(name) == block]
            factor = (factors or [])[block]
            groups += _groups(lora, inside, title=f"unet block {block}", rate=rate * factor, plus=plus)
        if factors is None:
            groups += _groups(lora, names, title=UNET_PART, rate=rate, plus=plus)
    if not groups:
        raise ConfigError(
            "All learning rates are 0, so nothing would be learned.",
            "Raise one of them, or down_lr_weight, mid_lr_weight or up_lr_weight.",
            field="learning_rate",
        )
    return groups


def _groups(
    lora: AttachedLora, names: Sequence[str], *, title: str, rate: float, plus: float | None
) -> list[dict[str, Any]]:
    slow: list[torch.nn.Parameter] = []
    fast: list[torch.nn.Parameter] = []
    for name in names:
        for part, weight in lora.weights(name).items():
            is_fast = plus is not None and part in PLUS.get(lora.shape.kind, ())
            (fast if is_fast else slow).append(weight)
    groups: list[dict[str, Any]] = [
        {"params": slow, "lr": rate, "name": title},
        {"params": fast, "lr": rate * (plus or 1.0), "name": f"{title} plus"},
    ]
    return [group for group in groups if group["params"] and group["lr"] > 0]


def _blocks(names: Sequence[str]) -> list[int]:
    """The blocks in the order of Kohya's trainer: as the denoiser has them, where names are diffusers'; by
    number where they are Stability's."""
    found = list(dict.fromkeys(block_of(name) for name in names))
    return sorted(found) if is_original(names) else found


def _plus_ratio(settings: NetworkGroup, part: str) -> float | None:
    ratio = settings.loraplus_unet_lr_ratio if part == UNET_PART else settings.loraplus_text_encoder_lr_ratio
    return ratio or settings.loraplus_lr_ratio
