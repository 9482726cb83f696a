"""Names of layers in other spellings, and what is asked of a repair, in words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lora_studio.errors import ConfigError
from lora_studio.lora.file.keys import same_layer
from lora_studio.lora.file.spellings import canonical_name, spelled_as
from lora_studio.lora.repair.repair_request import RepairRequest

SD1_UPSAMPLER = (
    "lora_unet_up_blocks_0_upsamplers_0_conv",
    "diffusion_model.output_blocks.2.1.conv",
    "unet.up_blocks.0.upsamplers.0.conv",
)


def golden(file: str) -> list[str]:
    text = (Path(__file__).parent.parent / "golden" / file).read_text("utf-8")
    found: list[str] = []

    def gather(value: object) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                gather(key)
                gather(inner)
        elif isinstance(value, list):
            for inner in value:
                gather(inner)
        elif isinstance(value, str) and value.startswith("lora_"):
            found.append(value.split(".")[0].replace("{}", "3"))

    gather(json.loads(text))
    return list(dict.fromkeys(found))


@pytest.mark.parametrize(
    ("file", "family"),
    [
        ("sd15_lora_keys.json", "sd1"),
        ("sdxl_lora_keys.json", "sdxl"),
        ("zimage_lora_keys.json", "zimage"),
        ("anima_lora_keys.json", "anima"),
    ],
)
def test_every_name_of_the_reference_trainer_goes_there_and_back(file: str, family: str) -> None:
    names = golden(file)
    assert len(names) > 30
    for name in names:
        encoder_of_anima = family == "anima" and name.startswith("lora_te_")  # diffusers takes no LoRA for it
        for spelling in ("comfyui",) if encoder_of_anima else ("diffusers", "comfyui"):
            other = spelled_as(spelling, same_layer(name), name, family)
            assert "." in other, name
            assert canonical_name(same_layer(other)) == canonical_name(name), (name, other)
            assert spelled_as("kohya", same_layer(other), other, family) == name, (name, other)


@pytest.mark.parametrize(
    "values",
    [
        {"spelling": "klingon"},
        {"save_precision": "fp8"},
        {"alpha": "doubled"},
        {"new_rank": -1},
        {"new_rank": 1.5},
        {"new_rank": "many"},
        {"new_rank": 10**9},
        {"dynamic_method": "sv_fro"},
        {"dynamic_param": 0.5},
        {"dynamic_method": "sv_fro", "dynamic_param": 2},
        {"dynamic_method": "sv_ratio", "dynamic_param": 0.5},
        {"dynamic_method": "sv_fro", "dynamic_param": "nan"},
        {"strip_private": "perhaps"},
        {"drop_broken": [1]},
        {"spelling": ["kohya"]},
        {"colour": "red"},
        {"alpha": {}},
    ],
)
def test_a_wrong_repair_is_named(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        RepairRequest.from_values(values)


def test_repairs_are_read_from_words() -> None:
    given = {"new_rank": "16", "strip_private": "true", "spelling": "kohya", "dynamic_method": "sv_fro"}
    request = RepairRequest.from_values({**given, "dynamic_param": "0.9"})
    assert request == RepairRequest(
        new_rank=16, strip_private=True, spelling="kohya", dynamic_method="sv_fro", dynamic_param=0.9
    )


@pytest.mark.parametrize(
    ("spelled", "family", "kohya", "comfyui", "diffusers"),
    [
        (
            "transformer.transformer_blocks.3.attn1.to_out.0",
            "anima",
            "lora_unet_blocks_3_self_attn_output_proj",
            "diffusion_model.blocks.3.self_attn.output_proj",
            "transformer.transformer_blocks.3.attn1.to_out.0",
        ),
        (
            "transformer.single_transformer_blocks.3.proj_mlp",
            "flux",
            "",
            "transformer.single_transformer_blocks.3.proj_mlp",
            "transformer.single_transformer_blocks.3.proj_mlp",
        ),
        (
            "lora_unet_double_blocks_3_img_attn_qkv",
            "flux",
            "lora_unet_double_blocks_3_img_attn_qkv",
            "diffusion_model.double_blocks.3.img_attn.qkv",
            "",
        ),
        ("lora_unet_up_blocks_0_upsamplers_0_conv", "sd1", *SD1_UPSAMPLER),
        ("lora_unet_what_is_this_3", "sd1", "lora_unet_what_is_this_3", "", ""),
        ("lora_unet_a__b", "sd1", "lora_unet_a__b", "", ""),
    ],
)  # fmt: skip
def test_a_name_of_each_family_in_each_spelling(
    spelled: str, family: str, kohya: str, comfyui: str, diffusers: str
) -> None:
    wanted = {"kohya": kohya, "comfyui": comfyui, "diffusers": diffusers}
    assert {one: spelled_as(one, same_layer(spelled), spelled, family) for one in wanted} == wanted
