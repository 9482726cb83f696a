from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from lora_studio.config_groups import NetworkGroup
from lora_studio.errors import ConfigError
from lora_studio.families.base import Target
from lora_studio.lora.network.ranks import (
    Size,
    block_of,
    check_network,
    curve,
    plan_sizes,
    rate_factors,
    unused_settings,
)

GOLDEN = json.loads((Path(__file__).parent.parent / "golden" / "sd15_lora_keys.json").read_text())
NAMES = list(dict.fromkeys(key.split(".")[0] for key in GOLDEN["default"]))
LAYERS = [
    Target(part="unet" if "unet" in name else "text_encoder", module=name.replace("_", "."), name=name)
    for name in NAMES
]
CONV = Target(part="unet", module="x", name="lora_unet_down_blocks_1_resnets_0_conv1")


def planned(**settings: object) -> dict[str, Size]:
    return plan_sizes(NetworkGroup(**settings), [*LAYERS, CONV], lambda layer: layer is CONV)


def test_without_conv_dim_the_convolutions_get_nothing() -> None:
    sizes = planned(network_dim=8, network_alpha=2.0)
    assert set(sizes) == set(NAMES)
    assert set(sizes.values()) == {Size(dim=8, alpha=2.0)}


def test_conv_dim_is_for_convolutions_and_its_alpha_is_1_unless_given() -> None:
    assert planned(conv_dim=16)[CONV.name] == Size(dim=16, alpha=1.0)
    assert planned(conv_dim=16, conv_alpha=4)[CONV.name] == Size(dim=16, alpha=4.0)


def test_an_alpha_of_0_is_the_rank() -> None:
    assert set(planned(network_alpha=0, network_dim=6).values()) == {Size(dim=6, alpha=6.0)}


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("lora_unet_down_blocks_0_attentions_0_proj_in", 1),
        ("lora_unet_down_blocks_0_downsamplers_0_conv", 3),
        ("lora_unet_down_blocks_2_attentions_1_proj_in", 8),
        ("lora_unet_down_blocks_3_resnets_1_conv2", 11),
        ("lora_unet_mid_block_attentions_0_proj_out", 12),
        ("lora_unet_up_blocks_0_resnets_0_conv1", 13),
        ("lora_unet_up_blocks_0_upsamplers_0_conv", 15),
        ("lora_unet_up_blocks_3_attentions_2_proj_in", 24),
        ("lora_unet_input_blocks_4_1_proj_in", 5),
        ("lora_unet_middle_block_1_proj_in", 11),
        ("lora_unet_output_blocks_8_0_in_layers_2", 21),
    ],
)
def test_blocks_have_kohyas_numbers(name: str, block: int) -> None:
    assert block_of(name) == block


def test_ranks_by_block_are_for_the_denoiser_and_0_leaves_a_block_out() -> None:
    dims = ",".join(str(number) for number in range(25))
    alphas = ",".join(["1", "0", *["0.5"] * 23])
    sizes = planned(block_dims=dims, block_alphas=alphas, conv_block_dims="0," * 4 + "3" + ",0" * 20)
    assert sizes["lora_unet_down_blocks_2_attentions_1_proj_in"] == Size(dim=8, alpha=0.5)
    assert sizes["lora_unet_down_blocks_0_attentions_0_proj_in"] == Size(dim=1, alpha=1.0)
    assert sizes["lora_te_text_model_encoder_layers_0_mlp_fc1"] == Size(dim=4, alpha=4.0)
    assert sizes[CONV.name] == Size(dim=3, alpha=1.0)
    none = planned(block_dims="0," * 24 + "4")
    assert {block_of(name) for name in none if "unet" in name} == {24}


def test_a_wrong_number_of_blocks_is_refused() -> None:
    with pytest.raises(ConfigError, match="block_dims has 3 numbers; this base model has 25 blocks"):
        planned(block_dims="1,2,3")


def test_rates_by_block() -> None:
    factors = rate_factors(NetworkGroup(down_lr_weight="0,0.5", up_lr_weight="linear+0.25"), NAMES)
    assert factors is not None
    assert len(factors) == 25
    assert factors[:3] == [0.0, 0.5, 1.0]
    assert factors[12] == 1.0
    assert factors[13:] == pytest.approx([index / 11 + 0.25 for index in range(12)])
    assert rate_factors(NetworkGroup(), NAMES) is None
    with pytest.raises(ConfigError, match="up_lr_weight has 13 numbers"):
        rate_factors(NetworkGroup(up_lr_weight=",".join("1" * 13)), NAMES)


def test_blocks_at_or_below_the_threshold_get_no_lora() -> None:
    sizes = planned(down_lr_weight=",".join(["0.1"] * 12), block_lr_zero_threshold=0.1)
    assert min(block_of(name) for name in sizes if "unet" in name) == 12
    assert CONV.name not in planned(conv_dim=4, down_lr_weight="zeros")


def test_sdxl_has_23_blocks() -> None:
    names = ["lora_unet_input_blocks_4_1_proj_in", "lora_unet_middle_block_1_proj_in"]
    factors = rate_factors(NetworkGroup(mid_lr_weight="0.5,0.25,0.125", down_lr_weight="zeros"), names)
    assert factors == [1.0, *[0.0] * 9, 0.5, 0.25, 0.125, *[1.0] * 9, 1.0]


@pytest.mark.parametrize(
    ("name", "middle"),
    [("sine", math.sin(math.pi / 4)), ("cosine", math.sin(math.pi / 4)), ("linear", 0.5), ("zeros+0.3", 0.3)],
)
def test_curves(name: str, middle: float) -> None:
    values = curve(name, 11)
    assert values[5] == pytest.approx(middle)
    assert curve("cosine", 12) == pytest.approx(curve("sine", 12)[::-1])
    assert curve("reverse_linear", 12) == pytest.approx(curve("linear", 12)[::-1])
    assert (curve("sine", 12)[0], curve("sine", 12)[-1]) == (0, 1)


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"network_train_unet_only": True, "network_train_text_encoder_only": True}, "text_encoder_only"),
        ({"dim_from_weights": True}, "network_weights"),
        ({"algo": "diag-oft", "dora_wd": True}, "dora_wd"),
        ({"algo": "loha", "network_dropout": 0.1}, "network_dropout"),
        ({"algo": "diag-oft", "scale_weight_norms": 1}, "scale_weight_norms"),
        ({"base_weights_multiplier": (1.0,)}, "base_weights_multiplier"),
    ],
)
def test_what_cannot_go_together_is_refused(settings: dict[str, object], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_network(NetworkGroup(**settings))
    assert field in caught.value.field


@pytest.mark.parametrize(
    ("name", "value"),
    [("block_dims", "1,x"), ("block_alphas", "1;2"), ("down_lr_weight", "cosin"), ("mid_lr_weight", "sine")],
)
def test_lists_are_checked_when_they_are_typed(name: str, value: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        NetworkGroup(**{name: value})


def test_lists_of_files_and_numbers_may_be_typed_as_one_text() -> None:
    settings = NetworkGroup(base_weights="a b.safetensors;c.safetensors", base_weights_multiplier="1, 0.5")
    assert settings.base_weights == ("a b.safetensors", "c.safetensors")
    assert settings.base_weights_multiplier == (1.0, 0.5)


@pytest.mark.parametrize(
    ("settings", "ignored"),
    [
        ({"conv_alpha": 2}, ["conv_alpha is ignored: conv_dim is empty."]),
        ({"conv_alpha": 2, "conv_dim": 4}, []),
        ({"factor": 8}, ["factor is ignored: algo is lora."]),
        ({"factor": 8, "algo": "lokr"}, []),
        ({"wd_on_output": True}, ["wd_on_output is ignored: dora_wd is off."]),
        (
            {"algo": "diag-oft", "network_alpha": 2},
            ["network_alpha is ignored: diag-oft has constraint instead."],
        ),
    ],
)
def test_what_has_no_effect_is_said(settings: dict[str, object], ignored: list[str]) -> None:
    assert list(unused_settings(NetworkGroup(**settings))) == ignored
