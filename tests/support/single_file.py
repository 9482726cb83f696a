"""Writes a diffusers folder as one checkpoint in Stable Diffusion's original layout."""

from __future__ import annotations

import json
import math
import re
import struct
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from safetensors.torch import save_file

UNET, VAE, TEXT = "model.diffusion_model.", "first_stage_model.", "cond_stage_model.transformer.text_model."
UNET_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
UNET_ENDS = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}
FIRST_TEXT = "conditioner.embedders.0.transformer.text_model."
SECOND_TEXT = "conditioner.embedders.1.model."
SD2_TEXT = "cond_stage_model.model."
OPEN_CLIP = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm": "ln_final",
    "encoder.layers": "transformer.resblocks",
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm": "ln_",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def write_single_file(base: Path, file: Path) -> Path:
    """Save the base model in folder `base` as `file`."""
    tensors = original_layout(DiffusionPipeline.from_pretrained(base))
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, file)
    return file


def write_empty_file(pipeline: Any, file: Path, *extra: str) -> Path:
    """Save a pipeline, which may be on the meta device, as `file` of zeros in 16 bit, which takes no room on
    most disks, and with names of empty tensors, which say something."""
    header: dict[str, Any] = {}
    end = 0
    shapes = {key: list(tensor.shape) for key, tensor in original_layout(pipeline).items()}
    for key, shape in {**shapes, **{key: [0] for key in extra}}.items():
        begin, end = end, end + 2 * math.prod(shape)
        header[key] = {"dtype": "F16", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        out.truncate(out.tell() + end)
    return file


def original_layout(pipeline: Any) -> dict[str, torch.Tensor]:
    """A pipeline's tensors by their names in Stability's checkpoints."""
    layers = pipeline.unet.config.layers_per_block
    levels = len(pipeline.vae.config.block_out_channels)
    attentions = {
        name.rsplit(".attentions", 1)[0] for name in pipeline.unet.state_dict() if "attentions" in name
    }
    found: dict[str, torch.Tensor] = {}
    for key, tensor in pipeline.unet.state_dict().items():
        found[UNET + unet_key(key, layers, attentions)] = tensor
    for key, tensor in pipeline.vae.state_dict().items():
        is_attention = "attentions" in key and key.endswith("weight") and "group_norm" not in key
        found[VAE + _vae_key(key, levels)] = tensor[..., None, None] if is_attention else tensor
    second = getattr(pipeline, "text_encoder_2", None)
    text = pipeline.text_encoder.state_dict()
    if pipeline.text_encoder.config.hidden_act == "gelu":
        return found | _open_clip(text, SD2_TEXT)
    for key, tensor in text.items():
        found[(FIRST_TEXT if second else TEXT) + key.removeprefix("text_model.")] = tensor
    return found | (_open_clip(second.state_dict(), SECOND_TEXT) if second else {})


def _open_clip(state: dict[str, torch.Tensor], start: str) -> dict[str, torch.Tensor]:
    """OpenCLIP keeps query, key and value in one matrix, and the projection the other way round."""
    found: dict[str, torch.Tensor] = {}
    if "text_projection.weight" in state:
        found[f"{start}text_projection"] = state["text_projection.weight"].T
    for key, tensor in state.items():
        name = key.removeprefix("text_model.")
        if key == "text_projection.weight" or ".k_proj." in name or ".v_proj." in name:
            continue
        if ".q_proj." in name:
            parts = [state[key.replace(".q_proj.", f".{part}_proj.")] for part in "qkv"]
            tensor = torch.cat(parts)
            name = name.replace("self_attn.q_proj.", "attn.in_proj_")
        for ours, theirs in OPEN_CLIP.items():
            name = name.replace(ours, theirs, 1)
        found[start + name] = tensor
    return found


def unet_key(key: str, layers: int, attentions: set[str]) -> str:
    for name, original in UNET_ENDS.items():
        if key.startswith(f"{name}."):
            return key.replace(name, original, 1)
    if key.startswith("mid_block."):
        _, kind, number, rest = key.split(".", 3)
        if kind == "resnets":
            return f"middle_block.{2 * int(number)}.{_renamed(rest, UNET_RESNET)}"
        return f"middle_block.1.{rest}"
    block, kind, number, rest = re.fullmatch(r"(\w+\.\d+)\.(\w+)\.(\d+)\.(.+)", key).groups()  # type: ignore[union-attr]
    down, level = block.startswith("down"), int(block.split(".")[1])
    first = 1 + level * (layers + 1) if down else level * (layers + 1)
    place = f"{'input' if down else 'output'}_blocks"
    if kind == "resnets":
        return f"{place}.{first + int(number)}.0.{_renamed(rest, UNET_RESNET)}"
    if kind == "attentions":
        return f"{place}.{first + int(number)}.1.{rest}"
    if kind == "downsamplers":
        return f"{place}.{first + layers}.0.op.{rest.removeprefix('conv.')}"
    return f"{place}.{first + layers}.{2 if block in attentions else 1}.{rest}"


def _vae_key(key: str, levels: int) -> str:
    key = key.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    key = re.sub(r"mid_block\.resnets\.(\d)", lambda match: f"mid.block_{int(match[1]) + 1}", key)
    if "mid_block.attentions.0." in key:
        start, rest = key.split("mid_block.attentions.0.")
        return f"{start}mid.attn_1.{_renamed(rest, VAE_ATTENTION)}"
    key = re.sub(r"down_blocks\.(\d)\.resnets", r"down.\1.block", key)
    key = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", key)
    key = re.sub(r"up_blocks\.(\d)\.resnets", lambda match: f"up.{levels - 1 - int(match[1])}.block", key)
    return re.sub(
        r"up_blocks\.(\d)\.upsamplers\.0", lambda match: f"up.{levels - 1 - int(match[1])}.upsample", key
    )


def _renamed(rest: str, names: dict[str, str]) -> str:
    for name, original in names.items():
        if rest.startswith(f"{name}."):
            return original + rest.removeprefix(name)
    return rest
