"""Names of the layers of FLUX.1 and its kin (Chroma, FLUX.2): diffusers' module paths, those of the makers'
own code, which Kohya's and ComfyUI's files keep, and XLabs'. All are flat here: every dot is an underscore.

The makers have one layer where diffusers has several side by side: query, key and value of a double block,
and those with the first layer of the feed-forward network in a single block. The base models here are held as
the makers have them (families/weights/fused_layers.py), so a file in diffusers' names changes some outputs of
a layer: its rows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

Pieces = tuple[tuple[int, int], ...]
"""Rows of a layer's weight, (first, behind the last) each, in the order in which a file has them."""

BLOCK = re.compile(r"((?:single_)?transformer_blocks)_(\d+)_(.+)")
THEIR_BLOCK = re.compile(r"((?:double|single)_blocks)_(\d+)_(.+)")
THEIR_BLOCKS = {"transformer_blocks": "double_blocks", "single_transformer_blocks": "single_blocks"}
OUR_BLOCKS = {theirs: ours for ours, theirs in THEIR_BLOCKS.items()}
LAYERS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "transformer_blocks": {
        "norm1_linear": ("img_mod_lin",),
        "attn_to_qkv": ("img_attn_qkv", "qkv_lora1"),
        "attn_to_out_0": ("img_attn_proj", "proj_lora1"),
        "ff_net_0_proj": ("img_mlp_0",),
        "ff_net_2": ("img_mlp_2",),
        **{"ff_linear_in": ("img_mlp_0",), "ff_linear_out": ("img_mlp_2",)},
        "norm1_context_linear": ("txt_mod_lin",),
        "attn_to_added_qkv": ("txt_attn_qkv", "qkv_lora2"),
        "attn_to_add_out": ("txt_attn_proj", "proj_lora2"),
        "ff_context_net_0_proj": ("txt_mlp_0",),
        "ff_context_net_2": ("txt_mlp_2",),
        **{"ff_context_linear_in": ("txt_mlp_0",), "ff_context_linear_out": ("txt_mlp_2",)},
    },
    "single_transformer_blocks": {
        "proj_mlp": ("linear1",),
        "proj_out": ("linear2", "proj"),
        "norm_linear": ("modulation_lin",),
        **{"attn_to_qkv_mlp_proj": ("linear1",), "attn_to_out_0": ("linear2",), "attn_to_out": ("linear2",)},
    },
}
"""Names of a block's layers by diffusers' name, in the order in which Kohya's trainer has them: the makers',
then XLabs', if it has one. FLUX.2 has other names of diffusers for some."""
PARTS = {
    "attn_to_qkv": ("attn_to_q", "attn_to_k", "attn_to_v"),
    "attn_to_added_qkv": ("attn_add_q_proj", "attn_add_k_proj", "attn_add_v_proj"),
    "proj_mlp": ("attn_to_q", "attn_to_k", "attn_to_v", "proj_mlp"),
}
"""diffusers' layers that are one here, in the order of its rows."""
XLABS_SINGLE = "qkv"
EMBEDDERS = {"timestep": "time_in", "guidance": "guidance_in", "text": "vector_in"}
MODULATIONS = ("double_stream_modulation_img", "double_stream_modulation_txt", "single_stream_modulation")
"""Layers of FLUX.2, for all blocks at once."""
ENDS: Mapping[str, str] = {
    "x_embedder": "img_in",
    "context_embedder": "txt_in",
    "proj_out": "final_layer_linear",
    **{
        f"time_{embedded}_embed_{ours}_embedder_linear_{number}": f"{theirs}_{side}_layer"
        for embedded in ("text", "guidance")
        for ours, theirs in EMBEDDERS.items()
        for number, side in ((1, "in"), (2, "out"))
    },
    **{f"{name}_linear": f"{name}_lin" for name in MODULATIONS},
}
LAST_NORM, THEIR_LAST_NORM = "norm_out_linear", "final_layer_adaLN_modulation_1"
"""The one layer whose two halves of outputs, scale and shift, have changed places."""
APPROXIMATOR = re.compile(r"(distilled_guidance_layer_layers_\d+)_linear_([12])")
THEIR_APPROXIMATOR = re.compile(r"(distilled_guidance_layer_layers_\d+)_(in|out)_layer")


def makers_names(path: str) -> tuple[str, ...]:
    """The names that stand for a layer of this path as a whole in files, the makers' first; empty for a path
    that is none of these models'."""
    if match := BLOCK.fullmatch(path):
        start = f"{THEIR_BLOCKS[match[1]]}_{match[2]}"
        return tuple(f"{start}_{name}" for name in LAYERS[match[1]].get(match[3], ()))
    if match := APPROXIMATOR.fullmatch(path):
        return (f"{match[1]}_{'in' if match[2] == '1' else 'out'}_layer",)
    return (ENDS[path],) if path in ENDS else ()


def makers_path(path: str) -> str:
    """The makers' name of a layer by any name that stands for it as a whole; one that is none of these
    models', or that stands for some outputs of a layer, as it is."""
    if names_a_part(path):
        return path
    first = next(iter(makers_names(path)), "")
    return first or _alias(path)


def diffusers_path(theirs: str, *, second: bool) -> str:
    """diffusers' name for the makers' name of a layer, one of several layers put together by its name here;
    `second`: of FLUX.2. A name that is none of theirs as it is."""
    if match := THEIR_BLOCK.fullmatch(theirs):
        block = OUR_BLOCKS[match[1]]
        ours = [one for one, names in LAYERS[block].items() if match[3] == names[0]]
        return f"{block}_{match[2]}_{ours[-1 if second else 0]}" if ours else theirs
    if match := THEIR_APPROXIMATOR.fullmatch(theirs):
        return f"{match[1]}_linear_{'1' if match[2] == 'in' else '2'}"
    other = "time_text_embed_" if second else "time_guidance_embed_"
    found = (one for one, name in ENDS.items() if name == theirs and not one.startswith(other))
    return next(found, theirs)


def fused_path(path: str) -> str:
    """The name here of the layer that this one is some outputs of, by diffusers', XLabs' or the makers' name;
    empty where it is none."""
    if path in (LAST_NORM, THEIR_LAST_NORM):
        return LAST_NORM
    if match := BLOCK.fullmatch(path):
        fused = (one for one, parts in PARTS.items() if one in LAYERS[match[1]] and match[3] in parts)
        return next((f"{match[1]}_{match[2]}_{one}" for one in fused), "")
    if (match := THEIR_BLOCK.fullmatch(path)) and match[3] == XLABS_SINGLE:
        return f"{OUR_BLOCKS[match[1]]}_{match[2]}_proj_mlp" if match[1] == "single_blocks" else ""
    return ""


def _alias(theirs: str) -> str:
    if match := THEIR_BLOCK.fullmatch(theirs):
        for names in LAYERS[OUR_BLOCKS[match[1]]].values():
            if match[3] in names:
                return f"{match[1]}_{match[2]}_{names[0]}"
    return theirs


def names_a_part(path: str) -> bool:
    """Whether this path is diffusers' name for some outputs of the layer that is here."""
    match = BLOCK.fullmatch(path)
    return match is not None and match[3] in PARTS.get(match[3], ())


def rows_in_files(path: str, shape: Sequence[int]) -> dict[str, Pieces]:
    """The names in files for some outputs of a layer with a weight of this shape, and the rows of each."""
    if path == LAST_NORM:
        half = shape[0] // 2
        return {THEIR_LAST_NORM: ((half, shape[0]), (0, half))}
    match = BLOCK.fullmatch(path)
    if match is None or match[3] not in PARTS or match[3] not in LAYERS[match[1]]:
        return {}
    start, parts = path.removesuffix(match[3]), PARTS[match[3]]
    width = shape[1] if len(parts) > 3 else shape[0] // 3
    ends = [width, 2 * width, 3 * width, shape[0]][: len(parts)]
    spans = zip([0, *ends], ends, strict=False)
    found: dict[str, Pieces] = {f"{start}{part}": (span,) for part, span in zip(parts, spans, strict=True)}
    if len(parts) > 3:
        found[f"single_blocks_{match[2]}_{XLABS_SINGLE}"] = ((0, 3 * width),)
    return found
