"""LoRA files for FLUX and what is built like it, as other programs spell them, and what they change."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from lora_studio.families import family_of
from lora_studio.families.flux import FluxModel
from lora_studio.generation.lora_lookup import layers_of
from lora_studio.lora.network.attach import attach
from lora_studio.lora.network.layer_fit import fit_to
from lora_studio.lora.network.layers import change_from
from lora_studio.lora.network.output_rows import OutputRows
from lora_studio.lora.network.weights import read_contents, read_weights

WIDTH = 32
"""Of the tiny transformers."""
NAME = re.compile(r"lora_unet_(double|single)_blocks_(\d+)_(.+)")
Tensors = dict[str, torch.Tensor]
Parts = Mapping[str, Sequence[str]]
"""diffusers' paths in a block by the makers' name of a layer; several where the makers have one layer."""


def layers_in(tensors: Tensors) -> list[tuple[str, str, str, str]]:
    """(whole name, double or single, number, layer) of each layer of the denoiser."""
    names = dict.fromkeys(key.partition(".")[0] for key in tensors)
    matches = [NAME.fullmatch(name) for name in names]
    return [(match[0], match[1], match[2], match[3]) for match in matches if match]


def matrices(tensors: Tensors, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Down and up with the scale in it."""
    down, up = tensors[f"{name}.lora_down.weight"], tensors[f"{name}.lora_up.weight"]
    return down, up * (tensors[f"{name}.alpha"] / len(down))


def in_diffusers(
    parts: Parts, start: str, down: str, up: str, *, flat: bool = False
) -> Callable[[Tensors], Tensors]:
    """diffusers' layers, a file layer for each that is one in ours; other ranks in each will do."""

    def spelled(tensors: Tensors) -> Tensors:
        found: Tensors = {}
        for name, kind, number, layer in layers_in(tensors):
            block = f"{'single_' * (kind == 'single')}transformer_blocks.{number}."
            a, b = matrices(tensors, name)
            width = WIDTH if len(parts[layer]) > 1 else len(b)
            for place, part in enumerate(parts[layer]):
                path = f"{block}{part}".replace(".", "_") if flat else f"{block}{part}"
                found[f"{start}{path}.{down}"] = a.clone()
                end = len(b) if part == "proj_mlp" else (place + 1) * width
                found[f"{start}{path}.{up}"] = b[place * width : end].clone()
        return found

    return spelled


def in_comfyui(tensors: Tensors) -> Tensors:
    found: Tensors = {}
    for name, kind, number, layer in layers_in(tensors):
        path = re.sub(r"_(lin|qkv|proj|0|2)$", r".\1", layer)
        start = f"diffusion_model.{kind}_blocks.{number}.{path}"
        found[f"{start}.lora_A.weight"] = tensors[f"{name}.lora_down.weight"]
        found[f"{start}.lora_B.weight"] = tensors[f"{name}.lora_up.weight"]
        found[f"{start}.alpha"] = tensors[f"{name}.alpha"]
    return found


def random_lora(model: FluxModel) -> Tensors:
    """A file of ours with random numbers in all layers of the denoiser; the alpha is half the rank."""
    targets, fresh = model.targets(texts=False), family_of(model.found).load().models()
    tensors = attach(fresh, targets, dim=3, alpha=1.5).tensors()
    generator = torch.Generator().manual_seed(5)
    return {
        key: torch.randn(one.shape, generator=generator) if one.dim() else one for key, one in tensors.items()
    }


def changes_of(model: FluxModel, file: Path) -> Tensors:
    """What a file adds to each layer's weight, by our name; nothing of it is left out."""
    layers = layers_of(model.models())
    contents, _ = read_contents(file)
    fit = fit_to(contents, layers)
    assert not [*contents.left_out, *fit.left_out]
    names = {model.denoiser.get_submodule(one.module): one.name for one in model.targets(texts=False)}
    found: Tensors = {}
    for name, layer in read_weights(file, fit.layers).items():
        base = layers[name]
        delta = change_from(base, layer).delta()
        if isinstance(base, OutputRows):
            delta = base.widened(delta.T, torch.zeros(delta.shape[1], len(base.module.weight))).T
            base = base.module
        found[names[base]] = found.get(names[base], 0) + delta
    return found


DOUBLE = {
    "img_mod_lin": "norm1.linear",
    "img_attn_proj": "attn.to_out.0",
    "img_mlp_0": "ff.net.0.proj",
    "img_mlp_2": "ff.net.2",
    "txt_mod_lin": "norm1_context.linear",
    "txt_attn_proj": "attn.to_add_out",
    "txt_mlp_0": "ff_context.net.0.proj",
    "txt_mlp_2": "ff_context.net.2",
}
SINGLE = {"linear2": "proj_out", "modulation_lin": "norm.linear"}
FUSED = {
    "img_attn_qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "txt_attn_qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
}
FLUX_PARTS = {**{name: (path,) for name, path in (DOUBLE | SINGLE).items()}, **FUSED}
XLABS = {"img_attn_qkv": "qkv_lora1", "img_attn_proj": "proj_lora1"}
XLABS |= {"txt_attn_qkv": "qkv_lora2", "txt_attn_proj": "proj_lora2", "linear2": "proj_lora"}


def in_xlabs(tensors: Tensors) -> Tensors:
    """They have the attention only; of a single block's first layer its first three parts."""
    found: Tensors = {}
    for name, kind, number, layer in layers_in(tensors):
        if layer in XLABS or layer == "linear1":
            a, b = matrices(tensors, name)
            start = f"{kind}_blocks.{number}.processor.{XLABS.get(layer, 'qkv_lora')}"
            found |= {f"{start}.down.weight": a, f"{start}.up.weight": b[: 3 * WIDTH].clone()}
    return found


PEFT, KOHYA = ("lora_A.weight", "lora_B.weight"), ("lora_down.weight", "lora_up.weight")
FLUX_SPELLINGS: dict[str, Callable[[Tensors], Tensors]] = {
    "kohya": dict,
    "comfyui": in_comfyui,
    "xlabs": in_xlabs,
    "diffusers": in_diffusers(FLUX_PARTS, "transformer.", *PEFT),
    "diffusers, old": in_diffusers(FLUX_PARTS, "transformer.", "lora.down.weight", "lora.up.weight"),
    "peft": in_diffusers(FLUX_PARTS, "base_model.model.", *PEFT),
    "onetrainer": in_diffusers(FLUX_PARTS, "lora_transformer_", *KOHYA, flat=True),
    "lycoris": in_diffusers(FLUX_PARTS, "lycoris_", *KOHYA, flat=True),
}
KLEIN_PARTS = {
    "img_attn_qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "img_attn_proj": ("attn.to_out.0",),
    "img_mlp_0": ("ff.linear_in",),
    "img_mlp_2": ("ff.linear_out",),
    "txt_attn_qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "txt_attn_proj": ("attn.to_add_out",),
    "txt_mlp_0": ("ff_context.linear_in",),
    "txt_mlp_2": ("ff_context.linear_out",),
    "linear1": ("attn.to_qkv_mlp_proj",),
    "linear2": ("attn.to_out",),
}
ONE_LAYER = {"img_attn_qkv": ("attn.to_qkv",), "txt_attn_qkv": ("attn.to_added_qkv",)}


def of_the_makers(tensors: Tensors) -> Tensors:
    """As PEFT saves an adapter of the makers' own model; the alphas stand in its configuration."""
    found: Tensors = {}
    for key, value in in_comfyui(tensors).items():
        scale = 0.5 if key.endswith("lora_B.weight") else 1.0
        if not key.endswith("alpha"):
            found[key.replace("diffusion_model.", "base_model.model.", 1)] = scale * value
    return found


KLEIN_SPELLINGS: dict[str, Callable[[Tensors], Tensors]] = {
    "kohya": dict,
    "comfyui": in_comfyui,
    "peft": of_the_makers,
    "diffusers": in_diffusers(KLEIN_PARTS, "transformer.", *PEFT),
    "diffusers, one layer": in_diffusers(KLEIN_PARTS | ONE_LAYER, "transformer.", *PEFT),
    "diffusers under ComfyUI's prefix": in_diffusers(KLEIN_PARTS, "diffusion_model.", *PEFT),
    "peft of diffusers": in_diffusers(KLEIN_PARTS, "base_model.model.", *PEFT),
    "bare": in_diffusers(KLEIN_PARTS, "", *PEFT),
    "onetrainer": in_diffusers(KLEIN_PARTS, "lora_transformer_", *KOHYA, flat=True),
    "lycoris": in_diffusers(KLEIN_PARTS, "lycoris_", *KOHYA, flat=True),
}
