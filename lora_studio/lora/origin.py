"""What a .safetensors file is for, told by the names and shapes of its tensors: the family of a LoRA whose
metadata is silent, and the kind of a file that is no LoRA."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from lora_studio.catalog import (
    JOINT_WIDTHS,
    LAYER_FAMILIES,
    SDXL,
    TEXT_WIDTHS,
    family_from_text_width,
    family_title,
)
from lora_studio.lora.keys import DOWN

Shape = tuple[int, ...]
Tensors = Mapping[str, tuple[str, Shape]]
Part = tuple[str, str, Shape]
"""(layer's name, part, shape) of a tensor."""

DENOISER = re.compile(r"(?:down|up|mid|input|output|middle)_blocks?_")
TEXT = re.compile(r"attn2_to_[kv]$")
DEEP = re.compile(r"_transformer_blocks_[1-9]\d*_")
"""Only one family's denoiser has several transformer blocks in a row."""
JOINT = re.compile(r"transformer_blocks_\d+_attn_(?:to_[qkv]|add_[qkv]_proj)$")
ENCODER = re.compile(r"^lora_te_.*self_attn_[qkv]_proj$")

CHECKPOINT_TEXT = re.compile(r"model\.diffusion_model\..*\.attn2\.to_k\.weight")
CHECKPOINT_BLOCK = re.compile(r"(?:model\.diffusion_model\.)?((?:\w+_)?blocks\.\d+\..+)\.weight")
CHECKPOINT_HINT = "Put it into models/base, and pick it as the base model."
EMBEDDING = (
    "an embedding (textual inversion)",
    "Embeddings can't be used here; a LoRA of the same subject can.",
)
BELONGINGS: tuple[tuple[str, str, str], ...] = (
    (
        r"lora_controlnet|control_model\.|controlnet_|lllite_|.*controlnet_cond_embedding\.",
        "a ControlNet",
        "ControlNets can't be used here.",
    ),
    (r"ip_adapter\.|image_proj\.", "an IP-Adapter", "IP-Adapters can't be used here."),
    (r"emb_params$|clip_[lg]$|string_to_param", *EMBEDDING),
    (
        r"down_blocks\.|conv_in\.weight|time_embedding\.",
        "the denoiser of a base model alone",
        "Take the whole base model: its folder or a full checkpoint goes into models/base.",
    ),
    (
        r"(?:first_stage_model\.)?(?:encoder|decoder)\.(?:conv_in|mid|mid_block|up|up_blocks)\.",
        "an autoencoder (VAE)",
        "It is a part of a base model. Take the whole base model into models/base.",
    ),
    (
        r"(?:text_model|encoder\.block|shared|transformer\.resblocks|vision_model|model\.layers)\b",
        "a text or image encoder",
        "It is a part of a base model. Take the whole base model into models/base.",
    ),
    (
        r"conv_first\.|model\.1\.sub\.|body\.\d+\.",
        "an upscaler",
        "Upscalers can't be used here; the second pass enlarges pictures without one.",
    ),
)
"""(how the name of one of its tensors begins, what the file is, what to do); the first that is found
counts."""
STRANGE = "a file of a kind that is not known here"
USABLE = "LoRA, LoCon, DoRA, LoHa, LoKr and OFT files can be used."
MOST_OF_EMBEDDING = 3
"""Tensors; in diffusers' form an embedding has one, under the name of its word."""


def family_of_layers(parts: Sequence[Part]) -> str:
    """The catalog's family that a LoRA with these layers was made for; empty when nothing tells it. By names
    that only one architecture has, else by the width of what its layers take in."""
    layers: dict[str, dict[str, Shape]] = {}
    for layer, part, shape in parts:
        if len(shape) > 1:
            layers.setdefault(layer, {})[part] = shape
    for pattern, family in LAYER_FAMILIES:
        if any(re.search(pattern, layer) for layer in layers):
            return family
    in_denoiser = [layer for layer in layers if DENOISER.search(layer)]
    widths = {pattern: _width(layers, pattern) for pattern in (JOINT, ENCODER)}
    text = _width({layer: layers[layer] for layer in in_denoiser}, TEXT)
    if text in TEXT_WIDTHS:
        return family_from_text_width(text)
    if any(DEEP.search(layer) for layer in in_denoiser) or any(
        name.startswith("lora_te2_") for name in layers
    ):
        return SDXL
    if not in_denoiser and widths[JOINT]:
        return JOINT_WIDTHS.get(widths[JOINT], "")
    # 768 is two families' width: nothing is said of a LoRA for their first text encoder alone.
    return family_from_text_width(widths[ENCODER]) if widths[ENCODER] == 1024 else ""


def what_else(tensors: Tensors) -> tuple[str, str]:
    """(what it is, what to do with it) of a file that holds no LoRA. The first ends "x is ..."."""
    if any(name.startswith("model.diffusion_model.") for name in tensors):
        return _checkpoint(tensors)
    for pattern, what, hint in BELONGINGS:
        found = re.compile(pattern)
        if any(found.match(name) for name in tensors):
            return what, hint
    family = other_architecture(tensors)
    if family:
        return f"the denoiser of a base model alone ({family_title(family)})", USABLE
    shapes = [shape for _, shape in tensors.values()]
    if 0 < len(shapes) <= MOST_OF_EMBEDDING and all(
        shape[-1:] and shape[-1] in (768, 1024, 1280) for shape in shapes
    ):
        return EMBEDDING
    return STRANGE, USABLE


def _checkpoint(tensors: Tensors) -> tuple[str, str]:
    text = (shape for name, (_, shape) in tensors.items() if CHECKPOINT_TEXT.fullmatch(name))
    family = family_from_text_width(next((shape[1] for shape in text if len(shape) == 2), 0))
    family = family or other_architecture(tensors)
    return (f"a checkpoint of {family_title(family)}" if family else "a checkpoint"), CHECKPOINT_HINT


def other_architecture(names: Iterable[str]) -> str:
    """The family of a base model that nothing here runs, by its tensors' names; empty for all others."""
    flat = [f"lora_{match[1]}".replace(".", "_") for name in names if (match := CHECKPOINT_BLOCK.match(name))]
    found = (family for pattern, family in LAYER_FAMILIES if any(re.search(pattern, name) for name in flat))
    return next(found, "")


def _width(layers: Mapping[str, Mapping[str, Shape]], wanted: re.Pattern[str]) -> int:
    """How many inputs the layers of this name have; 0 when no kind of network tells it."""
    found = (_inputs(shapes) for layer, shapes in layers.items() if wanted.search(layer))
    return next((width for width in found if width), 0)


def _inputs(shapes: Mapping[str, Shape]) -> int:
    for part in (DOWN, "hada_w1_b"):
        if part in shapes:
            return shapes[part][1]
    small, large = (
        next((shapes[name][1] for name in (f"lokr_{one}", f"lokr_{one}_b") if name in shapes), 0)
        for one in ("w1", "w2")
    )
    return small * large
