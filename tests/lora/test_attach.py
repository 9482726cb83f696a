from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from lora_studio.config_groups import NetworkGroup
from lora_studio.families.base import Target
from lora_studio.families.ddpm import DDPM
from lora_studio.families.sd import StableDiffusionModel
from lora_studio.lora.network.attach import attach, changes_nothing
from lora_studio.lora.network.kinds import is_finite
from lora_studio.lora.network.layers import Dropouts, Shape
from lora_studio.lora.network.ranks import Size, block_of, plan_sizes

GOLDEN = Path(__file__).parent.parent / "golden" / "sd15_lora_keys.json"
LINEAR = Target(part="unet", module="layer", name="lora_unet_layer")


def linear(out: int = 6, width: int = 50) -> torch.nn.Module:
    model = torch.nn.Module()
    model.layer = torch.nn.Linear(width, out)
    return model.requires_grad_(False)


def sd15_parts() -> StableDiffusionModel:
    """Stable Diffusion 1.5 in full size, without any memory for its weights."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            sample_size=64,
            block_out_channels=(320, 640, 1280, 1280),
            cross_attention_dim=768,
            attention_head_dim=8,
        )
        text = CLIPTextModel(
            CLIPTextConfig(
                hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12
            )
        )
    return StableDiffusionModel(
        found=None,
        tokenizer=None,
        text_encoder=text,
        vae=None,
        unet=unet,
        process=DDPM(config={}, alphas=torch.ones(1)),
    )


@pytest.mark.parametrize(
    ("case", "settings", "tensors", "weights"),
    [
        ("default", {"network_dim": 4}, 792, 2_359_296),
        ("conv", {"network_dim": 4, "conv_dim": 8, "conv_alpha": 1}, 1050, 7_042_816),
    ],
)
def test_keys_and_shapes_for_sd15_are_kohyas_to_the_last(
    case: str, settings: dict[str, object], tensors: int, weights: int
) -> None:
    wanted = json.loads(GOLDEN.read_text())[case]
    parts = sd15_parts()
    targets = parts.targets(conv=case == "conv")
    convolutions = {path for path, module in parts.unet.named_modules() if is_large(module)}
    sizes = plan_sizes(NetworkGroup(**settings), targets, lambda target: target.module in convolutions)
    lora = attach(parts.models(), targets, dim=4, alpha=4.0, sizes=sizes)
    found = shapes_on_meta(lora)
    assert {key: list(tensor.shape) for key, tensor in found.items()} == wanted
    assert len(found) == tensors
    assert {tensor.dtype for tensor in found.values()} == {torch.float32}
    assert sum(weight.numel() for part in lora.parts for weight in lora.parameters(part)) == weights
    blocks = dict.fromkeys(block_of(key) for key in wanted if "_unet_" in key)
    assert list(dict.fromkeys(block_of(name) for name in lora.parts["unet"])) == list(blocks)
    assert list(lora.parts) == ["text_encoder", "unet"]


def is_large(module: torch.nn.Module) -> bool:
    return getattr(module, "kernel_size", (1, 1)) != (1, 1)


def shapes_on_meta(lora) -> dict[str, torch.Tensor]:
    """`tensors()` copies to the CPU, which meta tensors can't; give them memory first."""
    for layer in lora.layers.values():
        for matrix in (layer.lora_A["default"], layer.lora_B["default"]):
            matrix.weight = torch.nn.Parameter(torch.zeros(matrix.weight.shape))
    return lora.tensors()


def test_layers_of_their_own_size_have_their_own_scale() -> None:
    model = linear()
    model.other = torch.nn.Linear(50, 6).requires_grad_(False)
    other = Target(part="unet", module="other", name="lora_unet_other")
    sizes = {"lora_unet_other": Size(dim=3, alpha=6.0)}
    lora = attach({"unet": model}, [LINEAR, other], dim=8, alpha=4.0, sizes=sizes)
    assert {key: tuple(tensor.shape) for key, tensor in lora.tensors().items() if "down" in key} == {
        "lora_unet_layer.lora_down.weight": (8, 50),
        "lora_unet_other.lora_down.weight": (3, 50),
    }
    assert [lora.layers[name].scaling["default"] for name in lora.layers] == [0.5, 2.0]
    assert lora.tensors()["lora_unet_other.alpha"] == 6.0
    assert lora.peft_config is not None
    assert lora.peft_config.rank_pattern == {"other": 3}


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        (Shape(), "LORA"),
        (Shape(dora_wd=True, wd_on_output=True), "LORA"),
        (Shape(kind="loha"), "LOHA"),
        (Shape(kind="lokr"), "LOKR"),
        (Shape(dora_wd=True), None),
        (Shape(kind="diag-oft"), None),
    ],
)
def test_peft_is_told_what_it_has_words_for(shape: Shape, kind: str | None) -> None:
    config = attach({"unet": linear()}, [LINEAR], dim=2, alpha=2.0, shape=shape).peft_config
    assert (config.to_dict()["peft_type"].value if config else None) == kind
    assert not config or config.to_dict().get("use_dora", False) == shape.dora_wd


def test_down_is_kaiming_uniform_and_up_is_zero() -> None:
    tensors = attach({"unet": linear(width=400)}, [LINEAR], dim=8, alpha=4.0).tensors()
    down = tensors["lora_unet_layer.lora_down.weight"]
    bound = 1 / math.sqrt(400)  # Kaiming uniform with a = sqrt(5) over 400 inputs
    assert down.abs().max() <= bound
    assert down.abs().max() > 0.95 * bound
    assert down.std() == pytest.approx(bound / math.sqrt(3), rel=0.05)
    assert changes_nothing(tensors)
    assert tensors["lora_unet_layer.alpha"] == 4.0
    assert tensors["lora_unet_layer.alpha"].shape == ()


def test_the_effect_is_up_times_down_times_alpha_over_dim() -> None:
    model = linear()
    x = torch.randn(3, 50)
    before = model.layer(x)
    lora = attach({"unet": model}, [LINEAR], dim=8, alpha=4.0)
    up = lora.layers["lora_unet_layer"].lora_B["default"].weight
    up.data = torch.randn(up.shape)
    tensors = lora.tensors()
    assert not changes_nothing(tensors)
    down_matrix, up_matrix = (
        tensors["lora_unet_layer.lora_down.weight"],
        tensors["lora_unet_layer.lora_up.weight"],
    )
    torch.testing.assert_close(model.layer(x), before + x @ down_matrix.T @ up_matrix.T * (4 / 8))


def test_weights_are_32_bit_and_trained_whatever_the_base_is() -> None:
    model = linear().to(torch.bfloat16)
    lora = attach({"unet": model}, [LINEAR], dim=2, alpha=2.0)
    for weight in lora.parameters("unet"):
        assert weight.dtype == torch.float32
        assert weight.requires_grad
    assert not model.layer.base_layer.weight.requires_grad


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_files_precision_covers_alpha_too(dtype: torch.dtype) -> None:
    tensors = attach({"unet": linear()}, [LINEAR], dim=2, alpha=2.0).tensors(dtype)
    assert {tensor.dtype for tensor in tensors.values()} == {dtype}


def test_the_seed_decides_and_the_global_random_state_stays() -> None:
    models = [linear() for _ in range(3)]
    state = torch.get_rng_state()
    one, two, three = (
        attach({"unet": model}, [LINEAR], dim=2, alpha=2.0, seed=seed).parameters("unet")[0]
        for model, seed in zip(models, (5, 5, 6), strict=True)
    )
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(one, two)
    assert not torch.equal(one, three)


def test_dropout_falls_on_the_rank_and_only_in_training() -> None:
    model = linear()
    lora = attach({"unet": model}, [LINEAR], dim=64, alpha=64.0, shape=Shape(dropouts=Dropouts(network=0.5)))
    layer = lora.layers["lora_unet_layer"]
    layer.lora_B["default"].weight.data = torch.eye(6, 64)
    x = torch.randn(200, 50)
    rank = layer.lora_A["default"]
    model.eval()
    full = rank(x)
    model.train()
    share = (rank(x) == 0).float().mean()
    assert share == pytest.approx(0.5, abs=0.02)
    kept = rank(x)
    torch.testing.assert_close(kept[kept != 0], (2 * full)[kept != 0])


def test_finite_means_every_number() -> None:
    assert is_finite(torch.zeros(3))
    assert is_finite(torch.full((3,), 6e4, dtype=torch.float16)), "though their sum is not"
    assert not is_finite(torch.tensor([1.0, float("inf")]))
    assert not is_finite(torch.tensor([1.0, float("inf"), -float("inf")]))
    assert not is_finite(torch.tensor(float("nan")))
