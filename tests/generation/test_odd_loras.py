"""LoRA files that do not fit the base, or only in part: named, and used as far as they fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_studio.errors import BrokenFile, FamilyMismatch, UnknownFormat
from lora_studio.generation.lora_lookup import find_loras
from lora_studio.generation.lora_stack import LoraStack
from lora_studio.request import LoraUse
from lora_studio.settings import Settings
from tests.support.drawing import Draw, MakeLora, fresh, load_tiny, pixels
from tests.support.loras import kohya_layers


def test_another_family_is_refused_in_a_sentence(draw: Draw, make_lora: MakeLora) -> None:
    before = pixels(*draw())
    make_lora("x", metadata={"ss_base_model_version": "sd_v2_768_v", "modelspec.title": "My cat"})
    with pytest.raises(FamilyMismatch) as caught:
        draw(loras=["x"])
    assert (
        caught.value.message == "“My cat” was made for Stable Diffusion 2.x; “tiny” is Stable Diffusion 1.x."
    )
    assert "Stable Diffusion 2.x" in caught.value.hint
    assert pixels(*draw()) == before


def test_other_sizes_are_refused_and_the_pipeline_stays_usable(
    draw: Draw, settings: Settings, make_lora: MakeLora, tmp_path: Path
) -> None:
    before = pixels(*draw())
    make_lora("good", seed=1)
    file = settings.loras / "wide" / "wide.safetensors"
    file.parent.mkdir()
    from safetensors.torch import load_file, save_file

    name = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    save_file(
        {f"{name}.lora_down.weight": torch.ones(4, 1280), f"{name}.lora_up.weight": torch.ones(1280, 4)}, file
    )
    other = settings.loras / "other" / "other.safetensors"
    other.parent.mkdir()
    save_file(load_file(file), other, {"ss_sd_model_name": "sd15.safetensors"})
    with pytest.raises(FamilyMismatch) as caught:
        draw(loras=["good", "wide"])
    assert caught.value.message == "“wide” doesn't fit “tiny”: its layers have other sizes."
    with pytest.raises(FamilyMismatch, match=r"It was made for sd15\.safetensors\."):
        draw(loras=["other"])
    assert pixels(*draw()) == before
    assert pixels(*draw(loras=["good"])) == fresh(settings, loras=[{"slug": "good"}])


def test_a_layer_that_the_base_lacks_is_refused(draw: Draw, settings: Settings) -> None:
    from safetensors.torch import save_file

    file = settings.loras / "xl" / "xl.safetensors"
    file.parent.mkdir()
    name = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q"
    save_file(
        {f"{name}.lora_down.weight": torch.ones(4, 16), f"{name}.lora_up.weight": torch.ones(16, 4)}, file
    )
    with pytest.raises(FamilyMismatch, match="doesn't fit"):
        draw(loras=["xl"])


def test_weights_of_unknown_kinds_are_left_out(draw: Draw, settings: Settings, make_lora: MakeLora) -> None:
    from safetensors.torch import load_file, save_file

    file = make_lora("odd")
    tensors = load_file(file)
    usual = pixels(*draw(loras=["odd"]))
    layer = next(iter(tensors)).split(".")[0]
    save_file({**tensors, f"{layer}.a1.weight": torch.ones(16, 1), "odd.vera_A": torch.ones(3)}, file)
    assert pixels(*draw(loras=["odd"])) == usual
    save_file({f"{layer}.lora_down.weight": tensors[f"{layer}.lora_down.weight"]}, file)
    with pytest.raises(UnknownFormat, match="no layer that is whole"):
        draw(loras=["odd"])


def test_an_unusual_choice_of_layers_is_drawn_with(draw: Draw, tiny_base: Path, make_lora: MakeLora) -> None:
    """diffusers' own loader loses some of these."""
    from safetensors.torch import load_file, save_file

    file = make_lora("partial", only="q_proj|fc1")
    before = pixels(*draw())
    partial = pixels(*draw(loras=["partial"]))
    tensors = load_file(file)
    for name, shape in kohya_layers(tiny_base):
        if f"{name}.alpha" not in tensors:
            tensors[f"{name}.lora_down.weight"] = torch.ones(1, *shape[1:])
            tensors[f"{name}.lora_up.weight"] = torch.zeros(shape[0], 1, *shape[2:])
    whole = make_lora("whole")
    save_file(tensors, whole, metadata={"ss_base_model_version": "sd_v1"})
    assert pixels(*draw(loras=["whole"])) == partial != before


def test_a_damaged_file_is_named(draw: Draw, make_lora: MakeLora) -> None:
    before = pixels(*draw())
    file = make_lora("cut")
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(BrokenFile, match=r"cut\.safetensors is damaged"):
        draw(loras=["cut"])
    assert pixels(*draw()) == before


@pytest.mark.parametrize("alpha", [float("nan"), float("inf")])
def test_an_alpha_that_is_no_number_is_named(draw: Draw, make_lora: MakeLora, alpha: float) -> None:
    before = pixels(*draw())
    make_lora("odd", alpha=alpha)
    with pytest.raises(BrokenFile, match="alpha"):
        draw(loras=["odd"])
    assert pixels(*draw()) == before


MIDDLE = "lora_unet_mid_block_attentions_0_transformer_blocks_0"


WORDS = "lora_te_text_model_embeddings_token_embedding"


ODD = {
    "OFT of fewer outputs": {f"{MIDDLE}_attn2_to_k.oft_diag": (8, 1, 1)},
    "OFT that is not square": {f"{MIDDLE}_attn2_to_k.oft_blocks": (1, 8, 1)},
    "OFT v2 with four sides": {f"{MIDDLE}_attn2_to_k.oft_R.weight": (4, 6, 1, 1)},
    "OFT of words": {f"{WORDS}.oft_blocks": (2, 95, 95)},
    "a bias of words": {f"{WORDS}.diff_b": (190,)},
    "a factor without sides": {
        f"{MIDDLE}_attn2_to_k.hada_w1_a": (),
        f"{MIDDLE}_attn2_to_k.hada_w1_b": (2, 16),
    }
    | {f"{MIDDLE}_attn2_to_k.hada_w2_a": (16, 2), f"{MIDDLE}_attn2_to_k.hada_w2_b": (2, 16)},
}


@pytest.mark.parametrize("what", ODD)
def test_a_layer_of_odd_sides_is_left_out(draw: Draw, make_lora: MakeLora, what: str) -> None:
    file, _ = make_lora("odd", only="down_blocks"), make_lora("plain", only="down_blocks")
    more = {name: torch.ones(shape) for name, shape in ODD[what].items()}
    save_file({**load_file(file), **more}, file)
    assert pixels(*draw(loras=["odd"])) == pixels(*draw(loras=["plain"]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float8_e5m2], ids=str)
def test_a_lora_of_zeros_is_named(settings: Settings, make_lora: MakeLora, dtype: torch.dtype) -> None:
    base = load_tiny(settings)
    file = make_lora("zero", metadata={"modelspec.title": "Nil"})
    tensors = load_file(file)
    empty = {key: (value if "alpha" in key else value * 0).to(dtype) for key, value in tensors.items()}
    stack = LoraStack(base.model.models(), "tiny")
    save_file(empty, file, metadata={"modelspec.title": "Nil"})
    (remark,) = stack.apply(find_loras([LoraUse(slug="zero")], settings.loras))
    assert "Nil" in remark
    assert "nothing" in remark
    (again,) = stack.apply(find_loras([LoraUse(slug="zero")], settings.loras))
    assert again == remark
    make_lora("some")
    assert stack.apply(find_loras([LoraUse(slug="some")], settings.loras)) == []


def test_a_factor_for_the_other_side_is_named(draw: Draw, make_lora: MakeLora) -> None:
    file = make_lora("odd", only="down_blocks")
    more = {
        f"{MIDDLE}_ff_net_0_proj.weight": torch.ones(16),
        f"{MIDDLE}_ff_net_0_proj.on_input": torch.tensor(False),
    }
    save_file({**load_file(file), **more}, file)
    with pytest.raises(BrokenFile):
        draw(loras=["odd"])


@pytest.mark.parametrize("part", ["alpha", "on_input", "oft_R.scaled_oft"])
def test_a_layer_with_several_numbers_for_one_is_left_out(draw: Draw, make_lora: MakeLora, part: str) -> None:
    file = make_lora("odd")
    tensors = load_file(file)
    layer = next(key for key in tensors if key.endswith(".alpha")).removesuffix(".alpha")
    rest = {key: tensor for key, tensor in tensors.items() if not key.startswith(f"{layer}.")}
    outputs = len(tensors[f"{layer}.lora_up.weight"])
    odd = {
        "alpha": {key: tensor for key, tensor in tensors.items() if key.startswith(f"{layer}.")},
        "on_input": {f"{layer}.weight": torch.ones(outputs, 1)},
        "oft_R.scaled_oft": {f"{layer}.oft_R.weight": torch.ones(1, 1)},
    }[part]
    save_file({**rest, **odd, f"{layer}.{part}": torch.ones(2)}, file)
    save_file(rest, make_lora("without"))
    assert pixels(*draw(loras=["odd"])) == pixels(*draw(loras=["without"])) != pixels(*draw())
