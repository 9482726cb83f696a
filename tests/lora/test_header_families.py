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
PUBLISHED: list[tuple[str, str, str, int, int, int]] = [
    ("Anima, sd-scripts", "anima", "lora_unet_blocks_{}_self_attn_q_proj", 2048, 2048, 28),
    ("Anima, sd-scripts", "anima", "lora_unet_blocks_{}_cross_attn_k_proj", 2048, 1024, 28),
    ("Anima with a text encoder, sd-scripts", "anima", "lora_unet_blocks_0_self_attn_q_proj", 2048, 2048, 1),
    ("Anima with a text encoder, sd-scripts", "anima", "lora_te_layers_0_self_attn_q_proj", 2048, 1024, 1),
    ("Anima, ComfyUI", "anima", "diffusion_model.blocks.{}.self_attn.output_proj", 2048, 2048, 28),
    (
        "FLUX with CLIP, sd-scripts",
        "flux",
        "lora_te1_text_model_encoder_layers_0_self_attn_q_proj",
        768,
        768,
        1,
    ),
    ("FLUX with CLIP, sd-scripts", "flux", "lora_unet_single_blocks_0_linear2", 3072, 15360, 1),
    ("FLUX with CLIP, sd-scripts", "flux", "lora_unet_double_blocks_18_txt_mod_lin", 18432, 3072, 1),
    ("FLUX, OneTrainer", "flux", "lora_transformer_transformer_blocks_{}_attn_to_q", 3072, 3072, 19),
    ("FLUX, OneTrainer", "flux", "lora_transformer_single_transformer_blocks_{}_attn_to_q", 3072, 3072, 38),
    ("FLUX.2 klein 4B, musubi", "klein", "lora_unet_double_blocks_0_img_attn_qkv", 9216, 3072, 1),
    ("FLUX.2 klein 4B, musubi", "klein", "lora_unet_single_blocks_0_linear1", 27648, 3072, 1),
    ("FLUX.2 klein 9B, musubi", "klein", "lora_unet_double_blocks_0_img_attn_qkv", 12288, 4096, 1),
    ("FLUX.2 klein 4B, ai-toolkit", "klein", "diffusion_model.double_blocks.0.img_attn.qkv", 9216, 3072, 1),
    ("FLUX.2 klein 4B, ai-toolkit", "klein", "diffusion_model.single_blocks.0.linear1", 27648, 3072, 1),
    ("SD 3 medium, sd-scripts", "sd3", "lora_unet_joint_blocks_{}_context_block_attn_qkv", 4608, 1536, 24),
    ("SD 3.5 large, sd-scripts", "sd3", "lora_unet_joint_blocks_{}_x_block_mlp_fc1", 9728, 2432, 38),
    ("Z-Image, musubi", "zimage", "lora_unet_layers_{}_attention_to_q", 3840, 3840, 30),
    ("Z-Image, ai-toolkit", "zimage", "diffusion_model.layers.{}.feed_forward.w1", 10240, 3840, 30),
    ("Z-Image, fused", "zimage", "diffusion_model.layers.0.attention.qkv", 11520, 3840, 1),
    ("Lumina 2, sd-scripts", "lumina2", "lora_unet_layers_{}_attention_qkv", 3840, 2304, 26),
    ("Qwen-Image, musubi", "qwen", "lora_unet_transformer_blocks_{}_img_mod_1", 18432, 3072, 60),
    ("Qwen-Image, musubi", "qwen", "lora_unet_transformer_blocks_{}_attn_to_q", 3072, 3072, 60),
    (
        "Qwen-Image, attention alone, musubi",
        "qwen",
        "lora_unet_transformer_blocks_{}_attn_add_q_proj",
        3072,
        3072,
        4,
    ),
    ("Krea 2, musubi", "krea2", "lora_unet_transformer_blocks_0_attn_to_gate", 6144, 6144, 1),
    ("Krea 2, musubi", "krea2", "lora_unet_transformer_blocks_0_attn_to_q", 6144, 6144, 1),
    ("HunyuanVideo, musubi", "hunyuan", "lora_unet_double_blocks_{}_img_mlp_fc1", 12288, 3072, 20),
    ("HunyuanImage, musubi", "hunyuan-image", "lora_unet_double_blocks_{}_img_attn_q", 3584, 3584, 20),
    ("Wan 2.1, musubi", "wan", "lora_unet_blocks_{}_self_attn_q", 1536, 1536, 30),
    ("Chroma, ComfyUI", "chroma", "diffusion_model.double_blocks.0.img_attn.qkv", 9216, 3072, 1),
    ("Chroma, ComfyUI", "chroma", "diffusion_model.distilled_guidance_layer.in_proj", 5120, 64, 1),
    ("SDXL, both text encoders alone", "sdxl", "lora_te1_text_model_encoder_layers_0_mlp_fc1", 3072, 768, 1),
    ("SDXL, both text encoders alone", "sdxl", "lora_te2_text_model_encoder_layers_0_mlp_fc1", 5120, 1280, 1),
    (
        "SD 1, attention of the mid block alone",
        "sd1",
        "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_v",
        1280,
        768,
        1,
    ),
    (
        "SD 2, PEFT",
        "sd2",
        "base_model.model.mid_block.attentions.0.transformer_blocks.0.attn2.to_v",
        1280,
        1024,
        1,
    ),
    (
        "SDXL, ComfyUI",
        "sdxl",
        "diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k",
        640,
        2048,
        1,
    ),
    (
        "SDXL, deep blocks alone",
        "sdxl",
        "lora_unet_middle_block_1_transformer_blocks_9_attn1_to_q",
        1280,
        1280,
        1,
    ),
]
"""A layer a row: whose file it is in, the family, the layer's name with {} for a block's number, outputs,
inputs, and how many blocks there are."""


def published() -> dict[str, tuple[str, Table]]:
    """The headers: sd-scripts' names come with its matrices down and up, all others with A and B."""
    found: dict[str, tuple[str, Table]] = {}
    for title, family, name, outputs, inputs, blocks in PUBLISHED:
        sides = {name.format(number): (outputs, inputs) for number in range(blocks)}
        _, before = found.get(title, ("", {}))
        found[title] = family, {**before, **pairs(sides, *([KOHYA] if name.startswith("lora_") else []))}
    return found


HEADERS: dict[str, tuple[str, Table]] = {
    **published(),
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
