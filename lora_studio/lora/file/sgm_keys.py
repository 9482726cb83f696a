"""Names of a denoiser's layers: diffusers' module paths and Stability's, which Kohya's files keep for the
larger models. Both are flat here: every dot is an underscore.

A level of the denoiser has two residual blocks down, three up, and a change of size; Stability counts them
through in one list each way, diffusers by level.
"""

from __future__ import annotations

import re

DOWN = 3
"""Entries of a level in Stability's lists: two blocks and a change of size down, three blocks up."""
RESIDUAL = {
    "conv1": "in_layers_2",
    "time_emb_proj": "emb_layers_1",
    "conv2": "out_layers_3",
    "conv_shortcut": "skip_connection",
    "norm1": "in_layers_0",
    "norm2": "out_layers_0",
}
ENDS = {
    "conv_in": "input_blocks_0_0",
    "conv_norm_out": "out_0",
    "conv_out": "out_2",
    "time_embedding_linear_1": "time_embed_0",
    "time_embedding_linear_2": "time_embed_2",
    "add_embedding_linear_1": "label_emb_0_0",
    "add_embedding_linear_2": "label_emb_0_2",
}
MIDDLE = {"resnets_0": "0", "attentions_0": "1", "resnets_1": "2"}
LOWEST_UPSAMPLER = "up_blocks_0_upsamplers_0_"
OURS = re.compile(r"(down|up)_blocks_(\d+)_(resnets|attentions|downsamplers|upsamplers)_(\d+)_(.+)")


def to_stability(name: str) -> str:
    """Stability's name of a layer: `down_blocks_1_attentions_0_proj_in` to `input_blocks_4_1_proj_in`. A name
    that is none of diffusers' stays as it is. An upsampler is taken to follow an attention (see
    `stability_names`)."""
    if name in ENDS:
        return ENDS[name]
    if match := re.fullmatch(r"mid_block_((?:resnets|attentions)_\d+)_(.+)", name):
        return f"middle_block_{MIDDLE[match[1]]}_{RESIDUAL.get(match[2], match[2])}"
    match = OURS.fullmatch(name)
    if match is None:
        return name
    way, level, kind, number, rest = match[1], int(match[2]), match[3], int(match[4]), match[5]
    if kind == "downsamplers":
        return f"input_blocks_{DOWN * level + DOWN}_0_{rest.replace('conv', 'op', 1)}"
    if kind == "upsamplers":
        return f"output_blocks_{DOWN * level + 2}_2_{rest}"
    place = DOWN * level + number + (way == "down")
    rest = RESIDUAL.get(rest, rest) if kind == "resnets" else rest
    return f"{'input' if way == 'down' else 'output'}_blocks_{place}_{int(kind == 'attentions')}_{rest}"


def stability_names(name: str) -> tuple[str, ...]:
    """The names of a layer in Stability's models of different sizes: where the lowest level has no attention
    (SD 1 and 2), its upsampler comes second."""
    usual = to_stability(name)
    if name.startswith(LOWEST_UPSAMPLER):
        return usual, usual.replace("output_blocks_2_2_", "output_blocks_2_1_", 1)
    return (usual,)
