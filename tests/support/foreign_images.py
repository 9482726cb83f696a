"""Stripped headers: names, number formats and shapes of LoRA files as other programs write them, without any
weights. Made by each program's own rule from the layers of full-size base models, whose weights take no
memory."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from tests.support.single_file import unet_key

Shape = tuple[int, ...]
Table = dict[str, tuple[str, Shape]]
Layer = tuple[str, str, Shape]
"""(part of the model, module path there, shape of the weight)"""
BYTES = {"F32": 4, "F16": 2, "BF16": 2, "I64": 8, "F8_E4M3": 1}
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")


def write_header(path: Path, table: Table, metadata: Mapping[str, str] | None = None) -> Path:
    """A whole file whose tensors are a hole on the disk: all zero."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    place = 0
    for name, (dtype, shape) in table.items():
        size = math.prod(shape) * BYTES[dtype]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [place, place + size]}
        place += size
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + place)
    return path


@cache
def full_size(family: str) -> Any:
    """What has the layers of a pipeline of this family at full size, on no device."""
    from diffusers import UNet2DConditionModel

    depth = {"transformer_layers_per_block": (1, 2, 10), "attention_head_dim": (5, 10, 20)}
    cross, plain = "CrossAttn{}Block2D", "{}Block2D"
    shapes: dict[str, dict[str, Any]] = {
        "sd1": {"cross_attention_dim": 768, "attention_head_dim": 8},
        "sd2": {
            "cross_attention_dim": 1024,
            "attention_head_dim": (5, 10, 20, 20),
            "use_linear_projection": True,
        },
        "sdxl": {
            **depth,
            "cross_attention_dim": 2048,
            "use_linear_projection": True,
            "block_out_channels": (320, 640, 1280),
            "down_block_types": tuple(kind.format("Down") for kind in (plain, cross, cross)),
            "up_block_types": tuple(kind.format("Up") for kind in (cross, cross, plain)),
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
        },
    }
    with torch.device("meta"):
        unet = UNet2DConditionModel(**shapes[family])
        first = _text_encoder(1024, 23) if family == "sd2" else _text_encoder(768, 12)
        second = _text_encoder(1280, 32) if family == "sdxl" else None
    return SimpleNamespace(unet=unet, text_encoder=first, text_encoder_2=second)


def layers(family: str, *, text: bool = True, conv: bool = False) -> Iterator[Layer]:
    """What trainers take: Linear and 1x1 layers of the transformers, with `conv` the residual blocks' too."""
    models = full_size(family)
    for part in ("unet", "text_encoder", "text_encoder_2"):
        model = getattr(models, part) if part == "unet" or text else None
        for path, module in model.named_modules() if model is not None else ():
            wanted = (
                ".layers." in path
                or "attentions" in path
                or (conv and ("resnets" in path or "samplers" in path))
            )
            if hasattr(module, "weight") and module.weight.dim() in (2, 4) and wanted:
                yield part, path, tuple(module.weight.shape)


def table(
    family: str,
    spelling: str,
    *,
    kind: str = "lora",
    dtype: str = "F16",
    alpha: str = "",
    text: bool = True,
    only: str = "",
) -> Table:
    """`kind` lora, locon, loha, lokr, dora or oft; `alpha` a number format for alphas, empty without them;
    `only` is a part of module paths."""
    name_of = SPELLINGS[spelling]
    found: Table = {}
    for part, path, shape in layers(family, text=text, conv=kind in ("locon", "loha")):
        if only not in path:
            continue
        down, up = MATRICES.get(spelling, ("lora_down.weight", "lora_up.weight"))
        name = name_of(family, part, path)
        if name:
            for tensor, sides in _tensors(kind, shape, down, up).items():
                found[f"{name}{tensor if tensor[0] == '_' else f'.{tensor}'}"] = (dtype, sides)
            if alpha:
                found[f"{name}.alpha"] = (alpha, ())
    return found


def _tensors(kind: str, shape: Shape, down: str, up: str) -> dict[str, Shape]:
    outputs, inputs, *kernel = shape
    flat = inputs * math.prod(kernel)
    plain = {down: (1, inputs, *kernel), up: (outputs, 1, *[1] * len(kernel))}
    return {
        "lora": plain,
        "locon": plain,
        "dora": {**plain, "dora_scale": (1, inputs, *[1] * len(kernel))},
        "loha": {f"hada_w{n}_{x}": (outputs, 1) if x == "a" else (1, flat) for n in "12" for x in "ab"},
        "lokr": {"lokr_w1": (4, 4), "lokr_w2_a": (outputs // 4, 1), "lokr_w2_b": (1, flat // 4)},
        "oft": {"oft_blocks": (outputs // 4, 4, 4)},
    }[kind]


def _kohya(family: str, part: str, path: str) -> str:
    """Stability's names for the largest family, diffusers' for the others."""
    if part != "unet":
        number = ("1" if part == "text_encoder" else "2") if family == "sdxl" else ""
        return f"lora_te{number}_text_model_{path.replace('.', '_')}"
    path = _original(family, path) if family == "sdxl" else path
    return f"lora_unet_{path.replace('.', '_')}"


def _kohya_with_diffusers_names(family: str, part: str, path: str) -> str:
    return _kohya("sd1", part, path) if part == "unet" else _kohya(family, part, path)


def _peft(family: str, part: str, path: str) -> str:
    return f"base_model.model.{path}" if part == "unet" else ""


def _diffusers(family: str, part: str, path: str) -> str:
    return f"{part}.{path}" if part == "unet" else f"{part}.text_model.{path}"


def _processors(family: str, part: str, path: str) -> str:
    """diffusers' first form: attention layers only."""
    if part != "unet" or not path.endswith(ATTENTION):
        return ""
    outer, inner = path.removesuffix(".0").rsplit(".", 1)
    return f"unet.{outer}.processor.{inner}"


def _comfy(family: str, part: str, path: str) -> str:
    if part == "unet":
        return f"diffusion_model.{_original(family, path)}"
    clip = "clip_h" if family == "sd2" else {"text_encoder": "clip_l", "text_encoder_2": "clip_g"}[part]
    return f"text_encoders.{clip}.transformer.text_model.{path}"


def _lycoris(family: str, part: str, path: str) -> str:
    path = path if part == "unet" else f"text_model.{path}"
    return f"lycoris_{path.replace('.', '_')}" if part != "text_encoder_2" else ""


SPELLINGS: Mapping[str, Callable[[str, str, str], str]] = {
    "kohya": _kohya,
    "kohya, diffusers' names": _kohya_with_diffusers_names,
    "peft": _peft,
    "peft, named adapter": _peft,
    "diffusers": _diffusers,
    "diffusers, lora.down": _diffusers,
    "diffusers, processors": _processors,
    "comfyui": _comfy,
    "comfyui, A and B": _comfy,
    "lycoris": _lycoris,
}
AB = ("lora_A.weight", "lora_B.weight")
MATRICES: Mapping[str, tuple[str, str]] = {
    "peft": AB,
    "peft, named adapter": ("lora_A.default.weight", "lora_B.default.weight"),
    "diffusers": AB,
    "diffusers, lora.down": ("lora.down.weight", "lora.up.weight"),
    "diffusers, processors": ("_lora.down.weight", "_lora.up.weight"),
    "comfyui, A and B": AB,
}


@cache
def _original(family: str, path: str) -> str:
    unet = full_size(family).unet
    attentions = {
        name.rsplit(".attentions", 1)[0] for name, _ in unet.named_modules() if "attentions" in name
    }
    return unet_key(f"{path}.weight", unet.config.layers_per_block, attentions).removesuffix(".weight")


def _text_encoder(width: int, layers: int) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=1000,
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=layers,
            num_attention_heads=8,
        )
    )


def pairs(names: Mapping[str, tuple[int, int]], spelling: str = "A and B") -> Table:
    """Low-rank pairs by the names of layers, each with its (outputs, inputs)."""
    down, up = AB if spelling == "A and B" else ("lora_down.weight", "lora_up.weight")
    return {
        f"{name}.{part}": ("BF16", shape)
        for name, (outputs, inputs) in names.items()
        for part, shape in ((down, (1, inputs)), (up, (outputs, 1)))
    }


def other_families() -> Mapping[str, Table]:
    """LoRAs for base models that nothing here runs, each in its programs' spellings."""
    flux = {f"double_blocks.{n}.img_attn.qkv": (9216, 3072) for n in range(19)}
    flux |= {f"single_blocks.{n}.linear1": (21504, 3072) for n in range(38)}
    flux_diffusers = {
        f"transformer_blocks.{n}.attn.{x}": (3072, 3072) for n in range(19) for x in ("to_q", "add_k_proj")
    }
    sd3 = {f"joint_blocks.{n}.x_block.attn.qkv": (4608, 1536) for n in range(24)}
    sd3_diffusers = {f"transformer_blocks.{n}.attn.to_q": (1536, 1536) for n in range(24)}
    wan = {
        f"blocks.{n}.{kind}_attn.{x}": (5120, 5120)
        for n in range(40)
        for kind in ("self", "cross")
        for x in "qkvo"
    }
    wan |= {f"blocks.{n}.ffn.0": (13824, 5120) for n in range(40)}
    hunyuan = {f"double_blocks.{n}.img_{x}": (3072, 3072) for n in range(20) for x in ("attn_qkv", "mlp.fc1")}
    qwen = {
        f"transformer_blocks.{n}.attn.{x}": (3072, 3072) for n in range(60) for x in ("to_q", "add_q_proj")
    }
    return {
        **{f"{title}, by its own names": pairs(names) for title, names in built_alike().items()},
        "flux, Kohya": pairs(
            {f"lora_unet_{name.replace('.', '_')}": s for name, s in flux.items()}, "down and up"
        ),
        "flux, ComfyUI": pairs({f"diffusion_model.{name}": s for name, s in flux.items()}),
        "flux, diffusers": pairs(
            {f"transformer.{name}": s for name, s in flux_diffusers.items()}
            | {f"transformer.single_transformer_blocks.{n}.proj_mlp": (12288, 3072) for n in range(38)}
        ),
        "flux, diffusers, in part": pairs({f"transformer.{name}": s for name, s in flux_diffusers.items()}),
        "sd3, Kohya": pairs(
            {f"lora_unet_{name.replace('.', '_')}": s for name, s in sd3.items()}, "down and up"
        ),
        "sd3, ComfyUI": pairs({f"diffusion_model.{name}": s for name, s in sd3.items()}),
        "sd3, diffusers": pairs({f"transformer.{name}": s for name, s in sd3_diffusers.items()}),
        "wan, musubi": pairs(
            {f"lora_unet_{name.replace('.', '_')}": s for name, s in wan.items()}, "down and up"
        ),
        "wan, ComfyUI": pairs({f"diffusion_model.{name}": s for name, s in wan.items()}),
        "wan, diffusers": pairs({f"transformer.blocks.{n}.attn2.to_k": (5120, 5120) for n in range(40)}),
        "hunyuan, musubi": pairs(
            {f"lora_unet_{name.replace('.', '_')}": s for name, s in hunyuan.items()}, "down and up"
        ),
        "hunyuan, ComfyUI": pairs({f"diffusion_model.{name}": s for name, s in hunyuan.items()}),
        "qwen, diffusers": pairs({f"transformer.{name}": s for name, s in qwen.items()}),
    }


def built_alike() -> Mapping[str, dict[str, tuple[int, int]]]:
    """Layers of transformers whose names are nearly the same, as diffusers has them at full size."""

    def blocks(count: int, width: int, *ends: str, start: str = "transformer_blocks", inputs: int = 0) -> Any:
        return {
            f"transformer.{start}.{n}.{end}": (width, inputs or width) for n in range(count) for end in ends
        }

    crossed = ("attn1.to_q", "attn1.to_k", "attn2.to_q", "attn2.to_k")
    joint = ("attn.to_q", "attn.add_q_proj")

    def flux(double: int, single: int, **more: tuple[int, int]) -> Any:
        both = blocks(double, 3072, *joint)
        return {**both, **blocks(single, 3072, "attn.to_q", start="single_transformer_blocks"), **more}

    wide = {f"transformer.single_transformer_blocks.{n}.proj_mlp": (24576, 3072) for n in range(27)}
    stream = {
        f"transformer.single_transformer_blocks.{n}.attn.to_qkv_mlp_proj": (27648, 3072) for n in range(20)
    }
    cosmos = {f"transformer.transformer_blocks.{n}.attn2.to_k": (4096, 1024) for n in range(28)}
    return {
        "flux": flux(19, 38),
        "longcat": flux(10, 20),
        "bria": flux(8, 38),
        "ovis": {**flux(6, 27), **wide},
        "like flux": flux(4, 4),
        "klein": {**blocks(5, 3072, *joint), **stream},
        "flux2": blocks(8, 6144, "ff.linear_in", "ff_context.linear_in"),
        "auraflow": blocks(4, 3072, *joint, start="joint_transformer_blocks"),
        "chroma": {**flux(19, 38), "transformer.distilled_guidance_layer.layers.0.linear_1": (5120, 5120)},
        "qwen": blocks(60, 3072, *joint),
        "sd3": blocks(24, 1536, *joint),
        "pixart": blocks(28, 1152, *crossed),
        "sana": blocks(20, 2240, *crossed),
        "ltx": blocks(28, 2048, *crossed),
        "mochi": blocks(48, 3072, "attn1.to_q", "attn1.add_q_proj"),
        "cogvideox": blocks(30, 1920, "attn1.to_q", "attn1.to_k"),
        "cogview4": blocks(28, 4096, "attn1.to_q", "attn1.to_k"),
        "glm-image": blocks(30, 4096, "attn1.to_q", "attn1.to_k"),
        "cosmos": {**blocks(28, 4096, "attn2.to_q"), **cosmos},
        "wan": blocks(40, 5120, *crossed, start="blocks"),
        "zimage": blocks(30, 3840, "attention.to_q", start="layers"),
        "lumina2": blocks(26, 2304, "attn.to_q", start="layers"),
        "krea2": blocks(28, 6144, "attn.to_q", "attn.to_gate"),
        "hidream": blocks(16, 2560, "block.attn1.to_q", start="double_stream_blocks"),
    }
