"""Names of a model's layers, there and back, in each spelling that files have."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_studio.lora.file.keys import DOWN, UP, layer_name, names_in_files, same_layer, spelled_key
from lora_studio.lora.file.sgm_keys import to_stability
from tests.support.properties import examples

GOLDEN = Path(__file__).parent.parent / "golden"
ATTENTION = st.sampled_from(
    [f"transformer_blocks.{n}.{layer}" for n in range(3) for layer in ("attn1.to_q", "attn2.to_out.0")]
    + ["transformer_blocks.0.ff.net.0.proj", "transformer_blocks.9.ff.net.2", "proj_in", "proj_out"]
)

RESIDUAL = st.sampled_from(["conv1", "conv2", "conv_shortcut", "time_emb_proj", "norm1", "norm2"])


@st.composite
def unet_modules(draw: st.DrawFn) -> str:
    """A layer of a denoiser of up to four levels, as diffusers names it."""
    if draw(st.booleans()):
        way = draw(st.sampled_from(["down", "up"]))
        place, most = f"{way}_blocks.{draw(st.integers(0, 3))}", 1 if way == "down" else 2
    else:
        way, place, most = "mid", "mid_block", 1
    kind = draw(st.sampled_from(["resnets", "attentions", *([f"{way}samplers"] if way != "mid" else [])]))
    if kind.endswith("samplers"):
        return f"{place}.{kind}.0.conv"
    number = 0 if (way, kind) == ("mid", "attentions") else draw(st.integers(0, most))
    return f"{place}.{kind}.{number}.{draw(RESIDUAL if kind == 'resnets' else ATTENTION)}"


@st.composite
def text_modules(draw: st.DrawFn) -> str:
    layer = draw(st.sampled_from(["self_attn.q_proj", "self_attn.out_proj", "mlp.fc1", "mlp.fc2"]))
    return f"text_model.encoder.layers.{draw(st.integers(0, 31))}.{layer}"


MODULES = st.one_of(
    st.tuples(st.just("unet"), unet_modules()),
    st.tuples(st.sampled_from(["text_encoder", "text_encoder_2"]), text_modules()),
)


def spellings(part: str, module: str) -> list[str]:
    """The layer's name in files of Kohya, diffusers, PEFT, LyCORIS and ComfyUI."""
    name = layer_name(f"{part}.{module}")
    found = [name, f"{part}.{module}", f"base_model.model.{part}.{module}"]
    if part == "unet":
        flat = module.replace(".", "_")
        return [*found, f"diffusion_model.{module}", f"base_model.model.{module}", f"lycoris_{flat}"]
    comfy = {"text_encoder": "clip_l", "text_encoder_2": "clip_g"}[part]
    return [*found, f"text_encoders.{comfy}.transformer.{module}"]


@examples(150)
@given(
    MODULES, st.sampled_from([(".lora_A.weight", DOWN), (".lora_up.weight", UP), (".lora.down.weight", DOWN)])
)
def test_every_spelling_is_the_same_layer(layer: tuple[str, str], tail: tuple[str, str]) -> None:
    ours = layer_name(".".join(layer))
    for spelled in spellings(*layer):
        assert spelled_key(spelled + tail[0]) == (ours, tail[1], spelled)


@examples(80)
@given(st.lists(MODULES, min_size=2, max_size=30, unique=True))
def test_no_two_layers_share_a_name(layers: list[tuple[str, str]]) -> None:
    """Also in Stability's names. Flat names keep apart what dots did."""
    owner: dict[str, tuple[str, str]] = {}
    for part, module in layers:
        for name in names_in_files(part, module, layer_name(f"{part}.{module}")):
            assert owner.setdefault(name, (part, module)) == (part, module), name
    denoiser = [module.replace(".", "_") for part, module in layers if part == "unet"]
    assert len({to_stability(module) for module in denoiser}) == len(denoiser)


@pytest.mark.parametrize("file", ["sd15_lora_keys.json", "sdxl_lora_keys.json"])
def test_the_keys_of_real_files_are_read_as_they_stand(file: str) -> None:
    for key in json.loads((GOLDEN / file).read_text())["default"]:
        name, part, spelled = spelled_key(key)
        assert f"{spelled}.{part}" == key
        assert name == same_layer(name) == spelled.replace("lora_te1_", "lora_te_", 1)
