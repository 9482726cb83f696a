"""The identity of a .safetensors file, told by the names and shapes of its tensors: the family of a LoRA
whose metadata is silent, and the kind of a file that is no LoRA."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from lora_studio.catalog import SDXL, TEXT_WIDTHS, family_from_text_width, family_title
from lora_studio.lora.file.architectures import Seen, family_of_paths, path_of
from lora_studio.lora.file.contents import FOREIGN, NETWORKS, Contents, shown
from lora_studio.lora.file.keys import DIFF, DOWN, OFT_R, UP

Shape = tuple[int, ...]
Tensors = Mapping[str, tuple[str, Shape]]

DENOISER = re.compile(r"(?:down|up|mid|input|output|middle)_blocks?_")
TEXT = re.compile(r"attn2_to_[kv]$")
DEEP = re.compile(r"_transformer_blocks_[1-9]\d*_")
"""Several transformer blocks in a row, which only one family's denoiser has."""
ENCODER = re.compile(r"^lora_te_text_model_encoder_.*self_attn_[qkv]_proj$")

CHECKPOINT_TEXT = re.compile(r"model\.diffusion_model\..*\.attn2\.to_k\.weight")
CHECKPOINT_BLOCK = re.compile(
    r"(?:model\.diffusion_model\.|net\.)?((?:(?:\w+_)?blocks|layers)\.\d+\..+)\.weight"
)
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
"""(start of the name of a tensor, what the file is, what to do); the first that matches counts."""
STRANGE = "a file of a kind that is not known here"
FACTORS = re.compile(r"lora_(?:up|down|A|B)\b|hada_w[12]_|lokr_w[12]|oft_blocks")
MOST_OF_EMBEDDING = 3
"""Tensors of an embedding in diffusers' form at most; it has one, under the name of its word."""


def family_of_layers(contents: Contents) -> str:
    """The catalog's family of a LoRA with these layers, told by names that only one architecture has, else by
    the width of the layers' inputs; empty when nothing tells it."""
    layers = {
        name: {part: shape for part, shape in layer.shapes.items() if len(shape) > 1}
        for name, layer in contents.layers.items()
    }
    in_denoiser = [layer for layer in layers if DENOISER.search(layer)]
    text = _width({layer: layers[layer] for layer in in_denoiser}, TEXT)
    if text in TEXT_WIDTHS:
        return family_from_text_width(text)
    if not in_denoiser and (family := family_of_paths(_seen(contents))):
        return family
    if any(DEEP.search(layer) for layer in in_denoiser) or any(
        name.startswith("lora_te2_text_") for name in layers
    ):
        return SDXL
    # 768 is two families' width: nothing is said of a LoRA for their first text encoder alone.
    width = _width(layers, ENCODER)
    return family_from_text_width(width) if width == 1024 and not in_denoiser else ""


def _seen(contents: Contents) -> list[Seen]:
    return [
        Seen(
            path_of(layer.spelled),
            _inputs({part: shape for part, shape in layer.shapes.items() if len(shape) > 1}),
            layer.shapes.get(UP, (0,))[0],
            kohya=layer.spelled.startswith("lora_unet_"),
        )
        for layer in contents.layers.values()
    ]


def no_network(name: str, tensors: Tensors, contents: Contents) -> tuple[str, str]:
    """(what is wrong, what to do) for a file without a usable layer."""
    foreign = next((one.why for one in contents.left_out if one.why in FOREIGN.values()), "")
    if foreign:
        return f"{name} is {foreign}, a kind of network that can't be used here.", NETWORKS
    if any(FACTORS.search(key) for key in tensors):
        reasons = ", ".join(f"{shown(one.name)} is {one.why}" for one in contents.left_out[:2])
        return f"{name} has no layer that is whole: {reasons}.", "Get the file again, or train it again."
    what, hint = EMBEDDING if contents.embeddings else what_else(tensors)
    return f"{name} is {what}, not a LoRA.", hint


def what_else(tensors: Tensors) -> tuple[str, str]:
    """(what it is, what to do with it) for a file that holds no LoRA. The first ends "x is ..."."""
    if any(name.startswith("model.diffusion_model.") for name in tensors):
        return _checkpoint(tensors)
    for pattern, what, hint in BELONGINGS:
        found = re.compile(pattern)
        if any(found.match(name) for name in tensors):
            return what, hint
    family = other_architecture(tensors)
    if family:
        return f"the denoiser of a base model alone ({family_title(family)})", NETWORKS
    shapes = [shape for _, shape in tensors.values()]
    if 0 < len(shapes) <= MOST_OF_EMBEDDING and all(
        shape[-1:] and shape[-1] in (768, 1024, 1280) for shape in shapes
    ):
        return EMBEDDING
    return STRANGE, NETWORKS


def _checkpoint(tensors: Tensors) -> tuple[str, str]:
    text = (shape for name, (_, shape) in tensors.items() if CHECKPOINT_TEXT.fullmatch(name))
    family = family_from_text_width(next((shape[1] for shape in text if len(shape) == 2), 0))
    family = family or other_architecture(tensors)
    return (f"a checkpoint of {family_title(family)}" if family else "a checkpoint"), CHECKPOINT_HINT


def other_architecture(tensors: Tensors) -> str:
    """The family of a base model that nothing here runs, by its tensors; empty for all others."""
    seen = [
        Seen(match[1].replace(".", "_"), shape[1], shape[0])
        for name, (_, shape) in tensors.items()
        if len(shape) == 2 and (match := CHECKPOINT_BLOCK.match(name))
    ]
    return family_of_paths(seen)


def _width(layers: Mapping[str, Mapping[str, Shape]], wanted: re.Pattern[str]) -> int:
    """The number of inputs of the layers whose name matches; 0 when no kind of network tells it."""
    found = (_inputs(shapes) for layer, shapes in layers.items() if wanted.search(layer))
    return next((width for width in found if width), 0)


def _inputs(shapes: Mapping[str, Shape]) -> int:
    for part in (DOWN, "hada_w1_b", DIFF, "b2.weight"):
        if part in shapes:
            return shapes[part][1]
    if OFT_R in shapes and shapes[OFT_R][0] > 1:
        return shapes[OFT_R][0] * ((1 + math.isqrt(1 + 8 * shapes[OFT_R][1])) // 2)
    small, large = (
        next((shapes[name][1] for name in (f"lokr_{one}", f"lokr_{one}_b") if name in shapes), 0)
        for one in ("w1", "w2")
    )
    return small * large
