"""Working LoRAs as they are found in the wild, each changed in one way: used as far as they fit, with a note
on the rest, or refused in one sentence that names them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file

from lora_studio.errors import ModelFileError
from lora_studio.generation.lora_lookup import WantedLora, check_fit, layers_of
from lora_studio.generation.lora_stack import LoraStack
from lora_studio.lora.file.lora_files import read_header
from tests.support.foreign_images import Table, full_size, pairs, write_header
from tests.support.loras import write_lora
from tests.support.tiny import make_tiny_base

Tensors = dict[str, torch.Tensor]
DENOISER, TEXT = "lora_unet_", "lora_te_"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def pipe(base: Path) -> Any:
    return StableDiffusionPipeline.from_pretrained(base)


@pytest.fixture(scope="module")
def tensors(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Tensors:
    return load_file(write_lora(tmp_path_factory.mktemp("lora") / "x.safetensors", base))


def names(tensors: Tensors) -> list[str]:
    return list(dict.fromkeys(key.split(".")[0] for key in tensors))


def first(tensors: Tensors) -> str:
    return names(tensors)[0]


def cast(tensors: Tensors, dtype: torch.dtype) -> Tensors:
    return {key: tensor.to(dtype) for key, tensor in tensors.items()}


def without(tensors: Tensors, wanted: Callable[[str], bool]) -> Tensors:
    return {key: tensor for key, tensor in tensors.items() if not wanted(key)}


def renamed(tensors: Tensors, *pairs: tuple[str, str]) -> Tensors:
    found = {}
    for key, tensor in tensors.items():
        for old, new in pairs:
            key = key.replace(old, new, 1)
        found[key] = tensor
    return found


def poisoned(tensors: Tensors) -> Tensors:
    key = f"{first(tensors)}.lora_up.weight"
    bad = tensors[key].clone()
    bad.view(-1)[0] = float("nan")
    return {**tensors, key: bad}


AB = (("lora_down", "lora_A"), ("lora_up", "lora_B"))
WHOLE = ""
VARIANTS: dict[str, tuple[Callable[[Tensors], Tensors], str]] = {
    "in half precision": (lambda t: cast(t, torch.float16), WHOLE),
    "in bfloat16": (lambda t: cast(t, torch.bfloat16), WHOLE),
    "in 64 bit": (lambda t: cast(t, torch.float64), WHOLE),
    "in 8 bit": (lambda t: cast(t, torch.float8_e5m2), WHOLE),
    "whole alphas": (lambda t: {k: v.long() if k.endswith("alpha") else v for k, v in t.items()}, WHOLE),
    "no alphas": (lambda t: without(t, lambda key: key.endswith("alpha")), WHOLE),
    "an alpha left over": (
        lambda t: without(t, lambda key: key.startswith(f"{first(t)}.lora_")),
        "without the rest of its layer",
    ),
    "an up missing": (lambda t: without(t, lambda key: key == f"{first(t)}.lora_up.weight"), "incomplete"),
    "denoiser only": (lambda t: without(t, lambda key: key.startswith(TEXT)), WHOLE),
    "text encoder only": (lambda t: without(t, lambda key: key.startswith(DENOISER)), WHOLE),
    "first of two text encoders": (lambda t: renamed(t, (TEXT, "lora_te1_")), WHOLE),
    "half the layers": (lambda t: without(t, lambda key: key.split(".")[0] in names(t)[::2]), WHOLE),
    "all zero": (lambda t: {k: v if k.endswith("alpha") else v * 0 for k, v in t.items()}, "changes nothing"),
    "PEFT's words around Kohya's": (
        lambda t: {
            f"base_model.model.{key}": tensor
            for key, tensor in renamed(without(t, lambda key: key.endswith("alpha")), *AB).items()
        },
        WHOLE,
    ),
    "LyCORIS' prefix": (
        lambda t: renamed(without(t, lambda key: key.startswith(TEXT)), (DENOISER, "lycoris_")),
        WHOLE,
    ),
    "a bias of another size": (lambda t: {**t, f"{first(t)}.diff_b": torch.zeros(4)}, "of other sizes"),
    "a tensor of nobody": (lambda t: {**t, "what.is.this": torch.ones(3)}, "of a kind that is not known"),
}


@pytest.mark.parametrize(("change", "said"), VARIANTS.values(), ids=VARIANTS)
def test_what_fits_is_used_and_the_rest_is_said(
    pipe: Any, tensors: Tensors, tmp_path: Path, change: Callable[[Tensors], Tensors], said: str
) -> None:
    file = tmp_path / "猫の絵 (v2).safetensors"
    changed = {key: tensor.contiguous() for key, tensor in change(tensors).items()}
    save_file(changed, file)
    header = read_header(file)
    stack = LoraStack(pipe.components, "tiny")
    notes = stack.apply([WantedLora(slug="x", weight=1.0, header=header)])
    assert len(stack.loaded) == 1
    assert [said in note for note in notes] == ([True] if said else [])
    assert said == "changes nothing" or all("1 of its parts is left out" in note for note in notes)
    stack.apply([])


@pytest.mark.parametrize("damage", ["a NaN", "cut off", "bytes behind"])
def test_what_is_damaged_is_refused_in_a_sentence_that_names_it(
    pipe: Any, tensors: Tensors, tmp_path: Path, damage: str
) -> None:
    file = tmp_path / "odd.safetensors"
    save_file(poisoned(tensors) if damage == "a NaN" else tensors, file)
    if damage == "cut off":
        file.write_bytes(file.read_bytes()[:-100])
    if damage == "bytes behind":
        file.write_bytes(file.read_bytes() + b"\0" * 7)
    with pytest.raises(ModelFileError) as caught:
        LoraStack(pipe.components, "tiny").apply(
            [WantedLora(slug="odd", weight=1.0, header=read_header(file))]
        )
    assert "odd" in caught.value.message
    assert caught.value.hint


A2 = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
NORM = "lora_unet_down_blocks_0_attentions_0_norm"
HEADERS: dict[str, tuple[str, Table, int]] = {
    "text encoders of the largest": (
        "sdxl",
        pairs(
            {
                "lora_te1_text_model_encoder_layers_0_mlp_fc1": (3072, 768),
                "lora_te2_text_model_encoder_layers_0_mlp_fc1": (5120, 1280),
            },
            "down and up",
        ),
        0,
    ),
    "an embedding in the bundle": ("sd1", {"bundle_emb.word.string_to_param.*": ("F16", (4, 768))}, 0),
    "an embedding for another base": ("sd1", {"bundle_emb.word.clip_g": ("F16", (4, 1280))}, 1),
    "LyCORIS' norms": ("sd1", {f"{NORM}.w_norm": ("F16", (320,)), f"{NORM}.b_norm": ("F16", (320,))}, 0),
    "ComfyUI's differences": ("sd1", {f"{NORM}.diff": ("F16", (320,)), f"{NORM}.diff_b": ("F16", (320,))}, 0),
    "an alpha alone": ("sd1", {"lora_unet_mid_block_attentions_0_proj_in.alpha": ("F16", ())}, 1),
    "a whole difference": (
        "sd1",
        {"lora_unet_down_blocks_0_attentions_0_proj_in.diff": ("F16", (320, 320))},
        0,
    ),
    "(IA)^3": (
        "sd1",
        {
            f"{A2.replace('attn2', 'attn1')}.weight": ("F16", (320, 1)),
            f"{A2.replace('attn2', 'attn1')}.on_input": ("F16", ()),
        },
        0,
    ),
}


@pytest.mark.parametrize(("family", "table", "left"), HEADERS.values(), ids=HEADERS)
def test_headers_of_other_programs_fit(tmp_path: Path, family: str, table: Table, left: int) -> None:
    whole = pairs({A2: (320, 768)}, "down and up") if family == "sd1" else {}
    file = write_header(tmp_path / "x.safetensors", {**whole, **table})
    header = read_header(file)
    assert header.family == family
    fit = check_fit(
        WantedLora(slug="x", weight=1.0, header=header), layers_of(vars(full_size(family))), "base"
    )
    assert len(fit.left_out) == left


def test_onetrainers_projection_of_the_pooled_text_has_a_place(tmp_path: Path) -> None:
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    with torch.device("meta"):
        second = CLIPTextModelWithProjection(
            CLIPTextConfig(vocab_size=99, hidden_size=32, intermediate_size=64, projection_dim=32)
        )
    models = full_size("sdxl")
    whole = type(models)(unet=models.unet, text_encoder=models.text_encoder, text_encoder_2=second)
    assert layers_of(vars(whole))["lora_te2_text_projection"] is second.text_projection
    table = pairs({"lora_te2_text_projection": (1280, 1280)}, "down and up")
    more = pairs({"lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k": (640, 2048)}, "down and up")
    header = read_header(write_header(tmp_path / "x.safetensors", {**more, **table}))
    assert header.family == "sdxl"
    wanted = WantedLora(slug="x", weight=1.0, header=header)
    assert [left.name for left in check_fit(wanted, layers_of(vars(models)), "base").left_out] == [
        "lora_te2_text_projection"
    ]
