"""Names of LoRA tensors: Kohya's in the file, module paths in the libraries.

A file holds a few tensors for each layer, `<name>.<part>`, where name is a prefix for the part of the model
and the module path with every dot turned into an underscore. The names of a layer's parts tell its kind:
`lora_down.weight` and `lora_up.weight` for LoRA, `hada_*` for LoHa, `lokr_*` for LoKr, `oft_*` for OFT,
`a1.weight` and its like for GLoRA, `on_input` for (IA)^3, `diff` for a whole difference; `dora_scale` makes a
layer a DoRA; `alpha` and `diff_b`, a difference of the bias, go with all.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from lora_studio.lora.file.cosmos_keys import DIFFUSERS_ADAPTER, TEXT_ADAPTER, to_cosmos
from lora_studio.lora.file.flux_keys import Pieces, makers_names, names_a_part, rows_in_files
from lora_studio.lora.file.sgm_keys import stability_names

DOWN, UP, MID, ALPHA = "lora_down.weight", "lora_up.weight", "lora_mid.weight", "alpha"
DORA, OFT, RESCALE = "dora_scale", "oft_blocks", "rescale"
OFT_DIAG, OFT_R, SCALED = "oft_diag", "oft_R.weight", "oft_R.scaled_oft"
DIFF, BIAS, SET, UP_BIAS = "diff", "diff_b", "set_weight", "lora_up.bias"
FACTOR, ON_INPUT, PEFT_FACTOR = "weight", "on_input", "ia3_l"
GLORA = ("a1.weight", "a2.weight", "b1.weight", "b2.weight")
UNET, TEXT_ENCODER = "lora_unet", "lora_te"
DENOISER, TEXT_ENCODERS = "unet", ("text_encoder", "text_encoder_2")
"""Parts of a base that carry a LoRA, by the names that diffusers has for them."""
PARTS = (DENOISER, TEXT_ADAPTER, *TEXT_ENCODERS)
TEXT_MODEL, TEXT_PROJECTION = "text_model.", "text_projection"
LANGUAGE_MODEL = "layers."
"""Beginning of the module paths in a language model."""

LYCORIS = (
    r"alpha|dora_scale|hada_w[12]_[ab]|hada_t[12]|lokr_w[12](?:_[ab])?|lokr_t2|oft_blocks|oft_diag|rescale"
    r"|oft_R\.scaled_oft|diff|diff_b|set_weight|w_norm|b_norm|on_input|[ab][12]\.weight"
)
ADAPTER = r"\.[A-Za-z]\w*"
"""PEFT's name of an adapter, which some programs leave in."""
PART = re.compile(
    rf"[._](?:(?<=\.)(?:(?P<part>{LYCORIS}|lora_mid\.weight)"
    rf"|(?P<peft>oft_R|ia3_l)(?:{ADAPTER})?(?:\.weight)?"
    rf"|lora_B(?:{ADAPTER})?\.(?P<bias>bias)"
    rf"|(?P<magnitude>lora_magnitude_vector)(?:{ADAPTER})?(?:\.weight)?|(?P<factor>weight))"
    r"|(?:lora(?:_linear_layer)?[._])?(?P<matrix>(?:lora_)?(?:down|up)"
    rf"|lora_[AB](?:{ADAPTER})?)\.weight)\Z"
)
"""The end of a key, from the sign on that follows the layer's name. Searched for: that is twice as fast as to
match the name before it letter by letter."""
PEFT_PARTS = {"oft_R": OFT_R, "ia3_l": PEFT_FACTOR}
SAME_PARTS = {"w_norm": DIFF, "b_norm": BIAS}
"""LyCORIS' names for the difference of a norm."""
DOWNS = ("lora_down", "lora_A", "down")

DENOISERS = ("unet.", "transformer.", "diffusion_model.", "model.diffusion_model.")
"""Prefixes of the denoiser's layers in diffusers' and in ComfyUI's files."""
ENCODERS = {
    **{"clip_l": "text_encoder", "clip_g": "text_encoder_2", "clip_h": "text_encoder"},
    **{"qwen3_06b": "text_encoder"},
}
"""ComfyUI's names of the text encoders."""
OURS_OUT, ORIGINAL_OUT = "_attention_to_out_0", "_attention_out"
"""The end of Z-Image's attention in diffusers and in its makers' own code, whose names ComfyUI keeps."""
OUT = "_to_out"
"""The end of an attention that has no list there, which most have."""
OLD_TEXT = re.compile(r"(?<=self_attn\.)to_(q|k|v|out)$")
"""Attention of the text encoder in diffusers' first form, which has the denoiser's words."""
OFT_UNET = "oft_unet_"
"""Prefix of the names that sd-scripts' networks.oft writes."""
TRANSFORMER = re.compile(r"^lora_transformer_(?!blocks_)")
"""Prefix of OneTrainer's names and of diffusers' first ones for transformers."""
T5_BLOCK = re.compile(r"(?:(?:text_encoders\.)?t5xxl\.(?:transformer\.)?|lora_te\d_)(encoder[._]block[._].*)")
"""T5's layers in ComfyUI's, Kohya's and OneTrainer's files, as the third or the second encoder."""
COMFY_TEXT = re.compile(r"(?:text_encoders\.)?(clip_[lgh]|qwen3_06b)\.(?:transformer\.)?(?:model\.)?(.+)")
BARE = {
    "unet": re.compile(
        r"(?:down_blocks|mid_block|up_blocks|input_blocks|middle_block|output_blocks|conv_in|conv_out"
        r"|time_embedding|add_embedding|time_embed|label_emb)[._].*"
        r"|(?:layers|noise_refiner|context_refiner)[._]\d+[._](?:attention|feed_forward|adaLN)[._].*"
        r"|(?:llm_adapter[._])?blocks[._]\d+[._](?:self|cross)_attn[._](?:[qkvo]|output)_proj"
        r"|blocks[._]\d+[._](?:mlp[._]layer[12]|adaln_modulation_.+)"
        r"|llm_adapter[._]blocks[._]\d+[._]mlp[._][02]"
        r"|transformer_blocks[._]\d+[._](?:attn[12][._]to_(?:[qkv]|out[._]0)|ff[._]net[._].+|norm[123][._].+)"
        r"|(?:(?:single_)?transformer_blocks|double_blocks|single_blocks)[._]\d+[._].*"
        r"|(?:double_stream_modulation_(?:img|txt)|single_stream_modulation|time_guidance_embed)[._].+"
    ),
    "text_encoder": re.compile(r"(?:text_model[._].*|encoder[._]layers[._].*)"),
}
"""Module paths by part, for files that don't name the part: PEFT's adapters are of one model, and LyCORIS'
own format has none."""


def unet_name(module: str) -> str:
    return f"{UNET}_{module.replace('.', '_')}"


def text_encoder_name(module: str) -> str:
    """Kohya's name of a module of the text encoder. transformers dropped the level `text_model` from CLIP's
    module paths in version 5; files keep it. The projection of the pooled text and language models never had
    it."""
    if module != TEXT_PROJECTION and not module.startswith(LANGUAGE_MODEL):
        module = TEXT_MODEL + module.removeprefix(TEXT_MODEL)
    return f"{TEXT_ENCODER}_{module.replace('.', '_')}"


def t5_name(module: str) -> str:
    """Kohya's name of a module of T5, whatever number it has among the text encoders."""
    return f"{TEXT_ENCODER}3_{module.replace('.', '_')}"


def layer_name(module_name: str) -> str:
    """Kohya's name for `unet.<module>`, `llm_adapter.<module>`, `text_encoder.<module>` or
    `text_encoder_2.<module>`."""
    part, _, module = module_name.partition(".")
    if part in (DENOISER, TEXT_ADAPTER):
        return unet_name(module if part == DENOISER else module_name)
    if module.startswith("encoder.block."):
        return t5_name(module)
    number = part.removeprefix("text_encoder").removeprefix("_")
    return text_encoder_name(module).replace(TEXT_ENCODER, TEXT_ENCODER + number, 1)


def split_key(key: str) -> tuple[str, str]:
    """(layer's name, part) of a key in a file written here."""
    name, _, kind = key.partition(".")
    return name, kind


def spelled_key(key: str) -> tuple[str, str, str]:
    """(Kohya's layer name, part, the layer's name as the file has it) of a tensor in any LoRA file; the part
    is empty for a tensor that no kind has. Reads Kohya's, LyCORIS', PEFT's and both of diffusers' spellings;
    a file's only text encoder and its first of two have the same name."""
    match = PART.search(key, 1)
    layer = key[: match.start()] if match else ""
    if match is None or "\n" in layer:
        return key, "", key
    if match["matrix"]:
        part = DOWN if match["matrix"].startswith(DOWNS) else UP
    elif match["peft"] or match["bias"] or match["factor"]:
        part = PEFT_PARTS.get(match["peft"] or "", UP_BIAS if match["bias"] else FACTOR)
    else:
        part = SAME_PARTS.get(match["part"], match["part"]) or DORA
    return same_layer(layer), part, layer


def same_layer(name: str) -> str:
    """Kohya's name of a layer in whatever spelling. Names of unknown models keep their own words, flat."""
    if match := T5_BLOCK.fullmatch(name):
        return t5_name(match[1])
    if name.startswith("lora_"):
        return TRANSFORMER.sub(f"{UNET}_", name.replace("lora_te1_", "lora_te_", 1), count=1)
    if name.startswith(OFT_UNET):
        return name.replace(OFT_UNET, f"{UNET}_", 1)
    name = name.removeprefix("base_model.model.").removeprefix("lycoris_").replace(".processor.", ".")
    if name.startswith("lora_"):
        return same_layer(name)
    name = re.sub(r"\bto_out$", "to_out.0", name)
    if match := COMFY_TEXT.fullmatch(name):
        return layer_name(f"{ENCODERS[match[1]]}.{match[2]}")
    for start in DENOISERS:
        if name.startswith(start):
            return unet_name(name.removeprefix(start))
    if name.startswith(f"{DIFFUSERS_ADAPTER}."):
        return layer_name(f"{TEXT_ADAPTER}.{name.removeprefix(f'{DIFFUSERS_ADAPTER}.')}")
    if name.startswith(("text_encoder.", "text_encoder_2.")):
        return layer_name(OLD_TEXT.sub(r"\1_proj", name.replace("self_attn.to_out.0", "self_attn.to_out")))
    for part, bare in BARE.items():
        if bare.fullmatch(name):
            return layer_name(f"{part}.{name.replace('text_model_', TEXT_MODEL, 1)}")
    return f"lora_{name.replace('.', '_')}"


def names_in_files(part: str, module: str, name: str) -> set[str]:
    """The names that `same_layer` may give to a layer of a file: our own name, diffusers' module path unless
    that is one of several in a layer, and for the denoiser its makers' path."""
    path, by_path = module.replace(".", "_"), layer_name(f"{part}.{module}")
    found = {same_layer(name), by_path}
    if part == DENOISER:
        makers = (*stability_names(path), to_cosmos(path), *makers_names(path))
        found |= {f"{UNET}_{theirs}" for theirs in makers}
        if names_a_part(path):
            found.remove(by_path)
        found |= {name.replace(OURS_OUT, ORIGINAL_OUT) for name in found if OURS_OUT in name}
        found |= {f"{name}_0" for name in found if name.endswith(OUT)}
    return found


def names_of_rows(part: str, module: str, shape: Sequence[int]) -> dict[str, Pieces]:
    """The names that `same_layer` may give to some outputs of a layer with a weight of this shape, with the
    rows of each."""
    rows = rows_in_files(module.replace(".", "_"), shape) if part == DENOISER else {}
    return {f"{UNET}_{name}": pieces for name, pieces in rows.items()}
