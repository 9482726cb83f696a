"""The family of LoRA files by their headers alone, as public programs write them: names and shapes."""

from __future__ import annotations

import time

import pytest

from lora_studio.catalog import FAMILIES, OTHER_FAMILIES
from lora_studio.lora.file.contents import contents_of
from lora_studio.lora.file.identify import family_of_layers
from lora_studio.lora.inspection.file_report import what_of
from lora_studio.lora.inspection.program_readings import ReadFile, readings
from tests.support.foreign_images import Table, other_families, pairs

KOHYA = "down and up"
PUBLISHED: dict[str, tuple[str, Table]] = {
    "Anima, sd-scripts": (
        "anima",
        pairs(
            {f"lora_unet_blocks_{n}_self_attn_q_proj": (2048, 2048) for n in range(28)}
            | {f"lora_unet_blocks_{n}_cross_attn_k_proj": (2048, 1024) for n in range(28)},
            KOHYA,
        ),
    ),
    "Anima with a text encoder, sd-scripts": (
        "anima",
        pairs(
            {
                "lora_unet_blocks_0_self_attn_q_proj": (2048, 2048),
                "lora_te_layers_0_self_attn_q_proj": (2048, 1024),
            },
            KOHYA,
        ),
    ),
    "Anima, ComfyUI": (
        "anima",
        pairs({f"diffusion_model.blocks.{n}.self_attn.output_proj": (2048, 2048) for n in range(28)}),
    ),
    "FLUX with CLIP, sd-scripts": (
        "flux",
        pairs(
            {
                "lora_te1_text_model_encoder_layers_0_self_attn_q_proj": (768, 768),
                "lora_unet_single_blocks_0_linear2": (3072, 15360),
                "lora_unet_double_blocks_18_txt_mod_lin": (18432, 3072),
            },
            KOHYA,
        ),
    ),
    "FLUX, OneTrainer": (
        "flux",
        pairs(
            {f"lora_transformer_transformer_blocks_{n}_attn_to_q": (3072, 3072) for n in range(19)}
            | {f"lora_transformer_single_transformer_blocks_{n}_attn_to_q": (3072, 3072) for n in range(38)},
            KOHYA,
        ),
    ),
    "FLUX.2 klein 4B, musubi": (
        "klein",
        pairs(
            {
                "lora_unet_double_blocks_0_img_attn_qkv": (9216, 3072),
                "lora_unet_single_blocks_0_linear1": (27648, 3072),
            },
            KOHYA,
        ),
    ),
    "FLUX.2 klein 9B, musubi": (
        "klein",
        pairs({"lora_unet_double_blocks_0_img_attn_qkv": (12288, 4096)}, KOHYA),
    ),
    "FLUX.2 klein 4B, ai-toolkit": (
        "klein",
        pairs(
            {
                "diffusion_model.double_blocks.0.img_attn.qkv": (9216, 3072),
                "diffusion_model.single_blocks.0.linear1": (27648, 3072),
            }
        ),
    ),
    "SD 3 medium, sd-scripts": (
        "sd3",
        pairs({f"lora_unet_joint_blocks_{n}_context_block_attn_qkv": (4608, 1536) for n in range(24)}, KOHYA),
    ),
    "SD 3.5 large, sd-scripts": (
        "sd3",
        pairs({f"lora_unet_joint_blocks_{n}_x_block_mlp_fc1": (9728, 2432) for n in range(38)}, KOHYA),
    ),
    "Z-Image, musubi": (
        "zimage",
        pairs({f"lora_unet_layers_{n}_attention_to_q": (3840, 3840) for n in range(30)}, KOHYA),
    ),
    "Z-Image, ai-toolkit": (
        "zimage",
        pairs({f"diffusion_model.layers.{n}.feed_forward.w1": (10240, 3840) for n in range(30)}),
    ),
    "Z-Image, fused": ("zimage", pairs({"diffusion_model.layers.0.attention.qkv": (11520, 3840)})),
    "Lumina 2, sd-scripts": (
        "lumina2",
        pairs({f"lora_unet_layers_{n}_attention_qkv": (3840, 2304) for n in range(26)}, KOHYA),
    ),
    "Qwen-Image, musubi": (
        "qwen",
        pairs(
            {f"lora_unet_transformer_blocks_{n}_img_mod_1": (18432, 3072) for n in range(60)}
            | {f"lora_unet_transformer_blocks_{n}_attn_to_q": (3072, 3072) for n in range(60)},
            KOHYA,
        ),
    ),
    "Qwen-Image, attention alone, musubi": (
        "qwen",
        pairs({f"lora_unet_transformer_blocks_{n}_attn_add_q_proj": (3072, 3072) for n in range(4)}, KOHYA),
    ),
    "Krea 2, musubi": (
        "krea2",
        pairs(
            {
                "lora_unet_transformer_blocks_0_attn_to_gate": (6144, 6144),
                "lora_unet_transformer_blocks_0_attn_to_q": (6144, 6144),
            },
            KOHYA,
        ),
    ),
    "HunyuanVideo, musubi": (
        "hunyuan",
        pairs({f"lora_unet_double_blocks_{n}_img_mlp_fc1": (12288, 3072) for n in range(20)}, KOHYA),
    ),
    "HunyuanImage, musubi": (
        "hunyuan-image",
        pairs({f"lora_unet_double_blocks_{n}_img_attn_q": (3584, 3584) for n in range(20)}, KOHYA),
    ),
    "Wan 2.1, musubi": (
        "wan",
        pairs({f"lora_unet_blocks_{n}_self_attn_q": (1536, 1536) for n in range(30)}, KOHYA),
    ),
    "Chroma, ComfyUI": (
        "chroma",
        pairs(
            {
                "diffusion_model.double_blocks.0.img_attn.qkv": (9216, 3072),
                "diffusion_model.distilled_guidance_layer.in_proj": (5120, 64),
            }
        ),
    ),
    "SDXL, both text encoders alone": (
        "sdxl",
        pairs(
            {
                "lora_te1_text_model_encoder_layers_0_mlp_fc1": (3072, 768),
                "lora_te2_text_model_encoder_layers_0_mlp_fc1": (5120, 1280),
            },
            KOHYA,
        ),
    ),
    "SD 1, attention of the mid block alone": (
        "sd1",
        pairs({"lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_v": (1280, 768)}, KOHYA),
    ),
    "SD 2, PEFT": (
        "sd2",
        pairs({"base_model.model.mid_block.attentions.0.transformer_blocks.0.attn2.to_v": (1280, 1024)}),
    ),
    "SDXL, ComfyUI": (
        "sdxl",
        pairs({"diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k": (640, 2048)}),
    ),
    "SDXL, deep blocks alone": (
        "sdxl",
        pairs({"lora_unet_middle_block_1_transformer_blocks_9_attn1_to_q": (1280, 1280)}, KOHYA),
    ),
}
HEADERS: dict[str, tuple[str, Table]] = {
    **PUBLISHED,
    **{f"{name} (named)": (name.split(",")[0], found) for name, found in other_families().items()},
}


@pytest.mark.parametrize(("family", "found"), HEADERS.values(), ids=HEADERS)
def test_the_layers_tell_the_family(family: str, found: Table) -> None:
    family = family.split(" by its")[0]
    assert family in {**FAMILIES, **OTHER_FAMILIES}
    contents = contents_of(found)
    assert family_of_layers(contents) == family
    assert not contents.left_out
    assert what_of(contents) == "LoRA"
    for one in readings(ReadFile(contents=contents, keys=found, family=family)):
        assert one.outcome == "whole" or one.why


def test_there_are_enough_of_them() -> None:
    """Those of Stable Diffusion in ten spellings are in tests/images/test_foreign.py."""
    assert len(HEADERS) >= 60
    assert len({family for family, _ in HEADERS.values()}) >= 20


def test_a_full_header_takes_no_time() -> None:
    found = pairs({f"transformer.blocks.{n}.self_attn.q": (5120, 5120) for n in range(4900)})
    begun = time.process_time()
    contents = contents_of(found)
    readings(ReadFile(contents=contents, keys=found, family=family_of_layers(contents)))
    assert time.process_time() - begun < 5
