"""The spellings that a LoRA file can be written in: Kohya's flat names, diffusers' and ComfyUI's paths.

A name goes through the module path in diffusers' words (for models that diffusers names otherwise, in their
makers'). A flat name has lost its dots; they come back by the words of each model, and a name with other
words is left alone.
"""

from __future__ import annotations

import re
from functools import cache

from lora_studio.catalog import ANIMA, CHROMA, FLUX, KLEIN, SD1, SD2, SD3, SDXL, ZIMAGE
from lora_studio.lora.file.contents import FUSED
from lora_studio.lora.file.cosmos_keys import DIFFUSERS_ADAPTER, TEXT_ADAPTER, from_cosmos, to_cosmos
from lora_studio.lora.file.flux_keys import (
    LAST_NORM,
    PARTS,
    THEIR_LAST_NORM,
    diffusers_path,
    fused_path,
    makers_path,
)
from lora_studio.lora.file.keys import DENOISERS, ORIGINAL_OUT, OURS_OUT, same_layer
from lora_studio.lora.file.sgm_keys import stability_names, to_stability

KOHYA, DIFFUSERS, COMFYUI = "kohya", "diffusers", "comfyui"
SPELLINGS = (KOHYA, DIFFUSERS, COMFYUI)
STABLE = (SD1, SD2, SDXL)
BUILT_LIKE_FLUX = (FLUX, CHROMA, KLEIN)
NUMBERED_ENCODERS = (SDXL, SD3, FLUX)
"""Families whose first text encoder Kohya numbers too."""
ONE_ENCODER = "lora_te_"
ENCODERS = {"lora_te_": "text_encoder", "lora_te1_": "text_encoder", "lora_te2_": "text_encoder_2"}
T5 = "lora_te3_"
T5_LAYER = re.compile(
    r"(encoder)_(block)_(\d+)_(layer)_(\d)_(SelfAttention|DenseReluDense)_(q|k|v|o|wi_[01]|wo)"
)
CLIPS = {"text_encoder": "clip_l", "text_encoder_2": "clip_g"}
WORDS = (
    *("down_blocks", "up_blocks", "mid_block", "input_blocks", "output_blocks", "middle_block"),
    *(
        "single_transformer_blocks",
        "transformer_blocks",
        "time_emb_proj",
        "time_embedding",
        "time_embed",
        "add_embedding",
        "label_emb",
    ),
    *("conv_shortcut", "conv_norm_out", "conv_in", "conv_out", "skip_connection", "in_layers", "out_layers"),
    *("emb_layers", "proj_in", "proj_out", "linear_1", "linear_2", "to_q", "to_k", "to_v", "to_out"),
    *("text_model", "text_projection", "self_attn", "cross_attn", "q_proj", "k_proj", "v_proj", "o_proj"),
    *("out_proj", "gate_proj", "up_proj", "down_proj", "adaln_modulation_self_attn", "linear_in"),
    *("adaln_modulation_cross_attn", "adaln_modulation_mlp", "adaln_modulation", "q_norm", "k_norm"),
    *("final_layer_norm", "layer_norm1", "layer_norm2", "token_embedding", "position_embedding"),
    *("noise_refiner", "context_refiner", "feed_forward", "adaLN_modulation", "attention_norm1"),
    *("norm_q", "norm_k", "output_proj", "double_blocks", "single_blocks", "img_attn", "txt_attn", "img_mlp"),
    *("txt_mlp", "img_mod", "txt_mod", "final_layer", "llm_adapter", "x_embedder", "t_embedder"),
    *("patch_embed", "norm_out"),
    *("distilled_guidance_layer", "img_in", "txt_in", "time_in", "vector_in", "guidance_in", "in_layer"),
    *(
        "out_layer",
        "double_stream_modulation_img",
        "double_stream_modulation_txt",
        "single_stream_modulation",
    ),
    *("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out", "to_qkv_mlp_proj", "proj_mlp"),
    *(
        "norm1_context",
        "ff_context",
        "linear_out",
        "time_text_embed",
        "time_guidance_embed",
        "timestep_embedder",
    ),
    *("guidance_embedder", "text_embedder", "context_embedder"),
)
"""Names of modules that have an underscore themselves."""
PLAIN = re.compile(
    r"\d{1,4}|attn[12]?|norm[123]?|conv[12]?|fc[12]|w[123]|linear[12]?|layer[12]|ff|net|proj|op|out|qkv|lin"
    r"|mlp|resnets|attentions|attention|downsamplers|upsamplers|encoder|layers|blocks|embeddings|modulation"
)
"""Numbers, and names of modules without one."""
MOST_LEVELS = 4


def spelled_as(spelling: str, name: str, spelled: str, family: str) -> str:
    """A layer's name in another spelling; empty where that isn't defined. `name` is Kohya's name of the
    layer, `spelled` its name in the file."""
    if spelling == KOHYA:
        return _kohya(name, family)
    if name.startswith((*ENCODERS, T5)):
        return _of_text_encoder(spelling, name, family)
    path = _module_path(name, spelled)
    if family in BUILT_LIKE_FLUX:
        return _built_like_flux(spelling, name.removeprefix("lora_unet_"), path, family)
    if not path:
        return ""
    if spelling == COMFYUI:
        return f"diffusion_model.{_original(path, family)}"
    if family in STABLE:
        return f"unet.{path}"
    if family == ANIMA:
        return _anima_in_diffusers(name.removeprefix("lora_unet_"))
    fused = path.replace(".", "_").endswith(FUSED)
    return f"transformer.{path}" if family == ZIMAGE and not fused else ""


def _of_text_encoder(spelling: str, name: str, family: str) -> str:
    if name.startswith(T5):  # diffusers takes no LoRA for it
        path = name.removeprefix(T5)
        is_here = family in BUILT_LIKE_FLUX and spelling == COMFYUI
        return f"text_encoders.t5xxl.transformer.{_t5_path(path)}" if is_here and _t5_path(path) else ""
    start = next(start for start in ENCODERS if name.startswith(start))
    encoder, path = ENCODERS[start], with_dots(name.removeprefix(start))
    if path and family == ANIMA and spelling == COMFYUI:
        return f"text_encoders.qwen3_06b.transformer.model.{path}"
    if not path or family not in (*STABLE, FLUX):
        return ""
    clip = "clip_h" if family == SD2 else CLIPS[encoder]
    return f"{encoder}.{path}" if spelling == DIFFUSERS else f"text_encoders.{clip}.transformer.{path}"


def _t5_path(flat: str) -> str:
    match = T5_LAYER.fullmatch(flat)
    return ".".join(match.groups()) if match else ""


def _built_like_flux(spelling: str, flat: str, path: str, family: str) -> str:
    """diffusers' and the makers' names of a layer that both have; ComfyUI reads the former's in a block of
    FLUX.1 as they are, too. `path` is for a layer that is none of these models'."""
    is_whole = not fused_path(flat) or flat == THEIR_LAST_NORM
    if flat == LAST_NORM or (not is_whole and "transformer_blocks_" in flat):
        ours = f"transformer.{with_dots(flat)}"
        return "" if spelling == COMFYUI and (family == KLEIN or flat == LAST_NORM) else ours
    if spelling == COMFYUI:
        theirs = (with_dots(makers_path(flat)) or path) if is_whole else ""
        return f"diffusion_model.{theirs}" if theirs else ""
    ours = diffusers_path(makers_path(flat), second=family == KLEIN)
    dotted = "" if fused_path(flat) or ours.endswith(SEVERAL) else with_dots(ours) or path
    return f"transformer.{dotted}" if dotted else ""


SEVERAL = tuple(f"_{name}" for name in PARTS)


def with_dots(flat: str) -> str:
    """A module's path from its flat name; empty for words that no model here has."""
    parts, rest = [], flat
    while rest:
        word = next((word for word in WORDS if _begins(rest, word)), "")
        if not word:
            first = rest.partition("_")[0]
            word = first if PLAIN.fullmatch(first) else ""
        if not word:
            return ""
        parts.append(word)
        rest = rest[len(word) + 1 :]
    return ".".join(parts)


def canonical_name(name: str, family: str = "") -> str:
    """One name for all that files for a family have for a layer: its makers'. Without a family, blocks that
    FLUX and Cosmos call alike count as Cosmos'."""
    start, _, flat = name.partition("lora_unet_")
    if start or not flat:
        return same_layer(name)
    if family in BUILT_LIKE_FLUX:
        return f"lora_unet_{makers_path(flat)}"
    flat = makers_path(to_cosmos(to_stability(flat.replace(OURS_OUT, ORIGINAL_OUT))))
    return f"lora_unet_{flat.replace('output_blocks_2_1_conv', 'output_blocks_2_2_conv')}"


def _kohya(name: str, family: str) -> str:
    """Kohya's name as its trainer writes it for the family; empty where its layers are others."""
    flat = name.removeprefix("lora_unet_")
    if name != flat and family in STABLE:
        return f"lora_unet_{to_stability(flat) if family == SDXL else _from_stability(flat)}"
    if name != flat and family == ANIMA:
        return f"lora_unet_{to_cosmos(flat)}"
    if name != flat and family in BUILT_LIKE_FLUX:
        is_whole = not fused_path(flat) or flat == THEIR_LAST_NORM
        return f"lora_unet_{makers_path(flat)}" if is_whole else ""
    if name.startswith(ONE_ENCODER) and family in NUMBERED_ENCODERS:
        return name.replace(ONE_ENCODER, "lora_te1_", 1)
    return name


def _module_path(name: str, spelled: str) -> str:
    """The denoiser's module path in diffusers' words, or in the file's where it has dots."""
    for start in ("base_model.model.", *DENOISERS):
        spelled = spelled.removeprefix(start)
    flat = name.removeprefix("lora_unet_")
    if "." in spelled and ".processor." not in spelled and not flat.startswith(STABILITY):
        return re.sub(r"\bto_out$", "to_out.0", spelled)
    flat = (
        _from_stability(flat).replace(ORIGINAL_OUT, OURS_OUT)
        if flat.endswith(ORIGINAL_OUT)
        else _from_stability(flat)
    )
    return with_dots(flat)


STABILITY = ("input_blocks_", "middle_block_", "output_blocks_", "time_embed_", "label_emb_", "out_")


def _from_stability(flat: str) -> str:
    """diffusers' flat name for Stability's; others stay."""
    if not flat.startswith(STABILITY):
        return flat
    starts = _inverse()
    for start in sorted(starts, key=len, reverse=True):
        if flat == start or flat.startswith(f"{start}_"):
            return starts[start] + flat[len(start) :]
    return flat


@cache
def _inverse() -> dict[str, str]:
    """Beginnings of Stability's flat names with diffusers' for them."""
    ours = [
        f"mid_block_{kind}_{number}" for kind, number in (("resnets", 0), ("attentions", 0), ("resnets", 1))
    ]
    for level in range(MOST_LEVELS):
        ours += [
            f"{way}_blocks_{level}_{kind}_{number}"
            for way, most in (("down", 2), ("up", 3))
            for kind in ("resnets", "attentions")
            for number in range(most)
        ]
        ours += [f"down_blocks_{level}_downsamplers_0_conv", f"up_blocks_{level}_upsamplers_0_conv"]
    inside = ("conv1", "time_emb_proj", "conv2", "conv_shortcut", "norm1", "norm2")
    layers = [f"{name}_{end}" for name in ours if "resnets" in name for end in inside]
    layers += ["conv_in", "conv_norm_out", "conv_out", "time_embedding_linear_1", "time_embedding_linear_2"]
    layers += ["add_embedding_linear_1", "add_embedding_linear_2"]
    layers += [name for name in ours if "samplers" in name]
    found = {theirs: name for name in layers for theirs in stability_names(name)}
    for name in ours:
        if "attentions" in name:
            found[to_stability(f"{name}_x").removesuffix("_x")] = name
    return found


def _original(path: str, family: str) -> str:
    """The path as the model's makers have it, whose names ComfyUI keeps."""
    flat = path.replace(".", "_")
    if family == ANIMA:
        return with_dots(to_cosmos(flat)) or path
    if family not in STABLE:
        return path
    names = stability_names(flat)
    return with_dots(names[-1] if family in (SD1, SD2) else names[0]) or path


def _anima_in_diffusers(flat: str) -> str:
    """The adapter is a model of its own there."""
    start = f"{TEXT_ADAPTER}_"
    model = DIFFUSERS_ADAPTER if flat.startswith(start) else "transformer"
    path = with_dots(flat.removeprefix(start) if flat.startswith(start) else from_cosmos(flat))
    return f"{model}.{path}" if path else ""


def _begins(text: str, word: str) -> bool:
    return text == word or text.startswith(f"{word}_")
