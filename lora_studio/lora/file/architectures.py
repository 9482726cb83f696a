"""The base model that a LoRA's layers belong to, by their names, widths and numbers: families beside Stable
Diffusion's own, which nothing here runs, but which a sentence can name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lora_studio.catalog import (
    ANIMA,
    COSMOS,
    FLUX,
    FLUX2,
    FLUX_BLOCKS,
    FLUX_WIDTH,
    KLEIN,
    KLEIN_WIDTHS,
    LIKE_FLUX,
    ONE_ATTENTION,
    OVIS,
    QWEN,
    SD3,
    SD3_WIDTHS,
    SIGNATURES,
)

PREFIX = re.compile(
    r"(?:base_model\.model\.)?(?:lora_unet_|lora_transformer_|lycoris_|oft_unet_|lora_"
    r"|(?:model\.)?diffusion_model\.|transformer\.|unet\.)?"
)
NUMBERED = re.compile(r"(single_transformer_blocks|transformer_blocks)_(\d+)_")


@dataclass(frozen=True)
class Seen:
    """One layer: its path in the model, every dot an underscore, its inputs and outputs (0: unknown), and
    whether a file of Kohya's kind has it under the denoiser's prefix."""

    path: str
    inputs: int = 0
    outputs: int = 0
    kohya: bool = False


WIDE_LINEAR = re.compile(r"single_blocks_\d+_linear1$|single_transformer_blocks_\d+_proj_mlp$")
DOUBLE_MLP = re.compile(r"double_blocks_\d+_(?:img|txt)_mlp_0$")
TEXT_READER = re.compile(r"transformer_blocks_\d+_attn2_to_[kv]$")
ANIMA_WIDTH = 2048
JOINT = re.compile(r"(?:single_)?transformer_blocks_\d+_attn_(?:to_[qkv]|add_[qkv]_proj)$")


def path_of(spelled: str) -> str:
    """A layer's path in its model, from its name in a file."""
    match = PREFIX.match(spelled)
    return spelled[match.end() if match else 0 :].replace(".", "_")


def family_of_paths(seen: Sequence[Seen]) -> str:
    """The family of these layers; empty when nothing tells it or when they are Stable Diffusion's."""
    has_second = any("_attn2_to_" in layer.path for layer in seen)
    for pattern, widths, family in SIGNATURES:
        found = re.compile(pattern)
        fitting = (
            layer
            for layer in seen
            if found.match(layer.path) and (not widths or layer.inputs in widths or not layer.inputs)
        )
        if next(fitting, None) is None:
            continue
        if family in ONE_ATTENTION and has_second:
            continue
        return ANIMA if family == COSMOS and _has_the_width_of_anima(seen) else family
    return _built_like_flux(seen)


def _has_the_width_of_anima(seen: Iterable[Seen]) -> bool:
    """diffusers has one denoiser for both; Cosmos' own of this width is hardly trained on."""
    return any(TEXT_READER.match(layer.path) and layer.outputs == ANIMA_WIDTH for layer in seen)


def _built_like_flux(seen: Iterable[Seen]) -> str:
    seen = list(seen)
    wide = [layer for layer in seen if WIDE_LINEAR.match(layer.path) and layer.inputs and layer.outputs]
    gated = [layer for layer in wide if layer.outputs == 9 * layer.inputs]
    gated += [
        layer for layer in seen if DOUBLE_MLP.match(layer.path) and layer.outputs == 6 * layer.inputs > 0
    ]
    if gated:
        return KLEIN if {layer.inputs for layer in gated} <= set(KLEIN_WIDTHS) else FLUX2
    if any(layer.outputs == 8 * layer.inputs for layer in wide):
        return OVIS
    if any(layer.path.startswith(("double_blocks_", "single_blocks_")) for layer in seen):
        return FLUX
    if any(layer.kohya and JOINT.match(layer.path) for layer in seen):
        return QWEN  # FLUX has the names of its first publication there
    widths = {layer.inputs for layer in seen if JOINT.match(layer.path)}
    last: Mapping[str, int] = _last_blocks(seen)
    has_single = "single_transformer_blocks" in last
    if widths and widths <= set(SD3_WIDTHS) and not has_single:
        return SD3
    if FLUX_WIDTH in widths or (has_single and FLUX_WIDTH in {layer.inputs for layer in seen}):
        blocks = (last.get("transformer_blocks", -1), last.get("single_transformer_blocks", -1))
        return FLUX_BLOCKS.get(blocks, LIKE_FLUX)
    return ""


def _last_blocks(seen: Iterable[Seen]) -> dict[str, int]:
    last: dict[str, int] = {}
    for layer in seen:
        if match := NUMBERED.match(layer.path):
            last[match[1]] = max(last.get(match[1], -1), int(match[2]))
    return last
