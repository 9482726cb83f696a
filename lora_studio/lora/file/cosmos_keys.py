"""Names of the layers of Anima's denoiser, which is Cosmos' (NVIDIA 2025), and of the adapter before it:
diffusers' module paths and its makers' own, which Kohya's and ComfyUI's files keep. The denoiser's are flat
here: every dot is an underscore."""

from __future__ import annotations

import re

TEXT_ADAPTER = "llm_adapter"
"""The makers' name of the adapter between language model and denoiser, and ours of this part of a base."""
DIFFUSERS_ADAPTER = "text_conditioner"

BLOCK = re.compile(r"transformer_blocks_(\d+)_(.+)")
THEIR_BLOCK = re.compile(r"blocks_(\d+)_(.+)")
ATTENTION = {"attn1": "self_attn", "attn2": "cross_attn"}
PROJECTIONS = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out_0": "output_proj"}
MODULATED = {"norm1": "self_attn", "norm2": "cross_attn", "norm3": "mlp"}
INNER = {
    **{
        f"{ours}_{one}": f"{theirs}_{other}"
        for ours, theirs in ATTENTION.items()
        for one, other in PROJECTIONS.items()
    },
    **{"ff_net_0_proj": "mlp_layer1", "ff_net_2": "mlp_layer2"},
    **{
        f"{ours}_linear_{n}": f"adaln_modulation_{theirs}_{n}"
        for ours, theirs in MODULATED.items()
        for n in "12"
    },
}
"""Layers of a block."""
OUTER = {
    **{"patch_embed_proj": "x_embedder_proj_1", "proj_out": "final_layer_linear"},
    **{f"time_embed_t_embedder_linear_{n}": f"t_embedder_1_linear_{n}" for n in "12"},
    **{f"norm_out_linear_{n}": f"final_layer_adaln_modulation_{n}" for n in "12"},
}

OURS = {theirs: ours for ours, theirs in {**INNER, **OUTER}.items()}


def to_cosmos(name: str) -> str:
    """The makers' name of a layer: `transformer_blocks_0_attn1_to_q` to `blocks_0_self_attn_q_proj`. A name
    that is none of this denoiser's stays as it is."""
    if match := BLOCK.fullmatch(name):
        return f"blocks_{match[1]}_{INNER[match[2]]}" if match[2] in INNER else name
    return OUTER.get(name, name)


def from_cosmos(name: str) -> str:
    """diffusers' name of a layer, the way back from `to_cosmos`."""
    if match := THEIR_BLOCK.fullmatch(name):
        return f"transformer_blocks_{match[1]}_{OURS[match[2]]}" if match[2] in OURS else name
    return OURS.get(name, name)
