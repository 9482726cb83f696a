"""LoRA files of other programs and for other base models, and files that are none: each with what is said of
it. See foreign.py for how they are made."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from lora_studio.catalog import FAMILIES, OTHER_FAMILIES
from lora_studio.errors import FamilyMismatch, StudioError, UnknownFormat
from lora_studio.families.base_files.found_base import FoundBase
from lora_studio.generation.lora_lookup import (
    WantedLora,
    check_family,
    check_fit,
    find_loras,
    layers_of,
    say_of,
)
from lora_studio.lora.file.keys import spelled_key
from lora_studio.lora.file.lora_files import read_header
from lora_studio.request import LoraUse
from tests.support.foreign_images import (
    MATRICES,
    SPELLINGS,
    Table,
    full_size,
    layers,
    other_families,
    pairs,
    table,
    write_header,
)

TITLES = {"sd1": "Stable Diffusion 1.x", "sd2": "Stable Diffusion 2.x", "sdxl": "Stable Diffusion XL"}
FITS = ""


@cache
def layers_at(family: str) -> dict[str, Any]:
    """Those of a base of this family at full size, which takes longer than to look into a file."""
    return layers_of(vars(full_size(family)))


def verdict(tmp_path: Path, tensors: Table, loaded: str, metadata: dict[str, str] | None = None) -> str:
    """What is said when a base of the family `loaded` draws; empty: it fits, with every layer."""
    write_header(tmp_path / "x" / "x.safetensors", tensors, metadata)
    base = FoundBase(name="my base", path_or_id="", family=loaded, layout="folder")
    try:
        (lora,) = find_loras([LoraUse(slug="x")], tmp_path)
        check_family(lora, base)
        check_fit(lora, layers_at(loaded), base.name)
    except StudioError as error:
        return str(error)
    return FITS


@pytest.mark.parametrize(
    ("spelling", "family"),
    [
        # In the first tier each spelling of one family, in turns.
        pytest.param(spelling, family, marks=() if (number - turn) % 3 == 0 else pytest.mark.slow)
        for number, spelling in enumerate(SPELLINGS)
        for turn, family in enumerate(TITLES)
    ],
)
def test_every_spelling_of_every_family_fits_its_base_and_no_other(
    tmp_path: Path, spelling: str, family: str
) -> None:
    tensors = table(family, spelling)
    assert len(tensors) > 100
    assert verdict(tmp_path, tensors, family) == FITS
    assert read_header(tmp_path / "x" / "x.safetensors").family == family
    for loaded in TITLES:
        if loaded != family:
            assert verdict(tmp_path, tensors, loaded) == (
                f"“x” was made for {TITLES[family]}; “my base” is {TITLES[loaded]}. "
                f"Pick a base model that is {TITLES[family]}, or another LoRA."
            )


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("family", TITLES)
def test_every_name_means_the_layer_that_it_was_made_from(spelling: str, family: str) -> None:
    models = full_size(family)
    ours = layers_of(vars(models))
    down, _ = MATRICES.get(spelling, ("lora_down.weight", ""))
    for part, path, _ in layers(family):
        name = SPELLINGS[spelling](family, part, path)
        if name:
            key, tensor, _ = spelled_key(f"{name}{'' if down[0] == '_' else '.'}{down}")
            assert tensor == "lora_down.weight"
            assert ours[key] is getattr(models, part).get_submodule(path), name


@pytest.mark.parametrize("kind", ["locon", "loha", "lokr", "dora", "oft"])
@pytest.mark.parametrize("family", TITLES)
@pytest.mark.parametrize("dtype", ["BF16", pytest.param("F32", marks=pytest.mark.slow)])
def test_every_kind_fits(tmp_path: Path, kind: str, family: str, dtype: str) -> None:
    tensors = table(family, "kohya", kind=kind, dtype=dtype, alpha="I64")
    assert verdict(tmp_path, tensors, family) == FITS
    header = read_header(tmp_path / "x" / "x.safetensors")
    assert header.algo == {"locon": "lora", "dora": "lora", "oft": "diag-oft"}.get(kind, kind)
    assert header.dora is (kind == "dora")
    if kind != "oft":  # it tells nothing of what goes into a layer
        assert header.family == family


@pytest.mark.parametrize("alpha", ["I64", "F16", "BF16", "F32"])
def test_alphas_of_any_number_format_are_taken(tmp_path: Path, alpha: str) -> None:
    assert verdict(tmp_path, table("sd1", "kohya", alpha=alpha, only="attn2"), "sd1") == FITS


def test_without_words_a_part_of_a_lora_is_told_by_what_it_has(tmp_path: Path) -> None:
    """Where the layers that see the text are missing, others tell it; where none does, the sizes decide."""
    assert verdict(tmp_path, table("sdxl", "kohya", only="transformer_blocks.5.attn1"), "sd1").startswith(
        "“x” was made for Stable Diffusion XL"
    )
    for family in ("sd1", "sd2"):
        assert verdict(tmp_path, table(family, "kohya", only="encoder.layers.0.self_attn"), family) == FITS
    assert verdict(tmp_path, table("sd2", "kohya", only="encoder.layers.0."), "sd1").startswith(
        "“x” was made for Stable Diffusion 2.x"
    )
    first_level = table("sd1", "kohya", only="mid_block.attentions.0.transformer_blocks.0.attn1")
    assert verdict(tmp_path, first_level, "sd1") == FITS
    assert verdict(tmp_path, table("sd1", "kohya", text=False, only="proj_in"), "sd2") == FITS


def test_the_words_in_a_file_go_before_its_shapes(tmp_path: Path) -> None:
    tensors = table("sd1", "kohya", only="attn2")
    for key, value in (
        ("ss_base_model_version", "sdxl_base_v1-0"),
        ("modelspec.architecture", "Stable-Diffusion-XL-v1-base/lora"),
    ):
        said = verdict(tmp_path, tensors, "sd1", {key: value, "modelspec.title": "My cat"})
        assert said.startswith(
            "“My cat” was made for Stable Diffusion XL; “my base” is Stable Diffusion 1.x."
        )


def runs_here(name: str) -> bool:
    return name.split(",")[0] in FAMILIES


@pytest.mark.parametrize("name", [name for name in other_families() if runs_here(name)])
@pytest.mark.parametrize("loaded", ["sd1", "sdxl"])
def test_another_family_that_runs_here_is_named(tmp_path: Path, name: str, loaded: str) -> None:
    title = FAMILIES[name.split(",")[0]]
    assert verdict(tmp_path, other_families()[name], loaded) == (
        f"“x” was made for {title}; “my base” is {TITLES[loaded]}. "
        f"Pick a base model that is {title}, or another LoRA."
    )


@pytest.mark.parametrize("name", [name for name in other_families() if not runs_here(name)])
@pytest.mark.parametrize("loaded", ["sd1", "sdxl"])
def test_what_nothing_here_runs_is_named(tmp_path: Path, name: str, loaded: str) -> None:
    title = OTHER_FAMILIES[name.split(",")[0]]
    assert verdict(tmp_path, other_families()[name], loaded) == (
        f"“x” was made for {title}; “my base” is {TITLES[loaded]}. "
        f"{title} can't be run here yet. Pick a LoRA that is made for {TITLES[loaded]}."
    )


def test_layers_of_an_unknown_architecture_are_refused_without_a_guess(tmp_path: Path) -> None:
    tensors = pairs({f"transformer.transformer_blocks.{n}.attn2.to_k": (2048, 2050) for n in range(28)})
    assert verdict(tmp_path, tensors, "sdxl") == (
        "“x” doesn't fit “my base”: its layers have other names. "
        "Pick the base model it was made for, or another LoRA."
    )


LAYER = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
USED_IN_PART = {
    "half a GLoRA beside a LoRA": ({f"{LAYER}.a1.weight": (1280, 1)}, "beside a layer of another kind"),
    "another layer's half": ({f"{LAYER[:-1]}k.hada_w1_a": (1280, 1)}, "incomplete"),
    "an alpha alone": ({f"{LAYER[:-1]}k.alpha": ()}, "without the rest of its layer"),
    "a VeRA": ({f"{LAYER[:-1]}k.vera_lambda_b": (1280,)}, "a VeRA"),
    "nobody's": ({"nobody.knows.this": (4, 4)}, "of a kind that is not known here"),
    "no such layer": (
        {"lora_unet_nowhere.lora_down.weight": (1, 4), "lora_unet_nowhere.lora_up.weight": (4, 1)},
        "no such layer in the base model",
    ),
    "other sizes": (
        {f"{LAYER[:-1]}k.lora_down.weight": (1, 4), f"{LAYER[:-1]}k.lora_up.weight": (4, 1)},
        "of other sizes than the base model's",
    ),
}


@pytest.mark.parametrize(("odd", "why"), USED_IN_PART.values(), ids=USED_IN_PART)
def test_an_odd_part_never_refuses_a_file(tmp_path: Path, odd: dict[str, tuple[int, ...]], why: str) -> None:
    whole = pairs({LAYER: (1280, 1280)}, "down and up")
    odd_table: Table = {name: ("F16", shape) for name, shape in odd.items()}
    assert verdict(tmp_path, {**whole, **odd_table}, "sd1") == FITS
    (lora,) = find_loras([LoraUse(slug="x")], tmp_path)
    fit = check_fit(lora, layers_at("sd1"), "my base")
    assert fit.layers.keys() == {LAYER}
    assert [left.why for left in fit.left_out] == [why]
    said = say_of(lora, fit.left_out)
    share = 100 * sum(left.values for left in fit.left_out) / fit_values(lora)
    assert (
        f"left out, {share:.0f} % of the file" in said
        or "less than 0.1 %" in said
        or f"{share:.1f} %" in said
    )
    assert why in said


def fit_values(lora: WantedLora) -> int:
    return sum(math.prod(shape) for _, shape in lora.header.tensors.values())


NAMED: dict[str, tuple[Table, dict[str, str], str]] = {
    "anima": (pairs({"lora_unet_blocks_0_self_attn_q_proj": (2048, 2048)}, "down and up"), {}, "anima"),
    "anima with its text encoder": (
        pairs(
            {
                "lora_unet_blocks_0_self_attn_q_proj": (2048, 2048),
                "lora_te_layers_0_self_attn_q_proj": (2048, 1024),
            },
            "down and up",
        ),
        {},
        "anima",
    ),
    "zimage, Kohya": (
        pairs({"lora_unet_layers_0_attention_to_q": (3840, 3840)}, "down and up"),
        {},
        "zimage",
    ),
    "lumina2, Kohya": (
        pairs({"lora_unet_layers_0_attention_qkv": (3840, 2304)}, "down and up"),
        {},
        "lumina2",
    ),
    "qwen, Kohya": (
        pairs({"lora_unet_transformer_blocks_0_attn_to_q": (3072, 3072)}, "down and up"),
        {},
        "qwen",
    ),
    "klein, ComfyUI": (pairs({"diffusion_model.single_blocks.0.linear1": (27648, 3072)}), {}, "klein"),
    "chroma, by its words": (
        pairs({"lora_unet_double_blocks_0_img_attn_proj": (3072, 3072)}, "down and up"),
        {"ss_base_model_version": "chroma"},
        "chroma",
    ),
    "pixart, LyCORIS": (
        pairs({f"lycoris_transformer_blocks_{n}_attn2_to_q": (1152, 1152) for n in range(28)}, "down and up"),
        {},
        "pixart",
    ),
    "sd2, the reference trainer's word": (
        pairs({"lora_unet_mid_block_attentions_0_proj_in": (8, 8)}, "down and up"),
        {"ss_base_model_version": "sd_v2_v"},
        "sd2",
    ),
}


@pytest.mark.parametrize(("tensors", "words", "family"), NAMED.values(), ids=NAMED)
def test_families_of_today_are_named(
    tmp_path: Path, tensors: Table, words: dict[str, str], family: str
) -> None:
    assert read_header(write_header(tmp_path / "x.safetensors", tensors, words)).family == family


MODEL = "model.diffusion_model."
KEY = f"{MODEL}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
INTO_BASE = "Put it into models/base, and pick it as the base model."
PART = "It is a part of a base model. Take the whole base model into models/base."
WHOLE = "Take the whole base model: its folder or a full checkpoint goes into models/base."
EMBEDDING = "an embedding (textual inversion)"
NO_EMBEDDING = "Embeddings can't be used here; a LoRA of the same subject can."


@pytest.mark.parametrize(
    ("names", "what", "hint"),
    [
        ({KEY: (320, 768)}, "a checkpoint of Stable Diffusion 1.x", INTO_BASE),
        (
            {KEY.replace("blocks.1", "blocks.4"): (640, 2048)},
            "a checkpoint of Stable Diffusion XL",
            INTO_BASE,
        ),
        (
            {f"{MODEL}joint_blocks.0.x_block.attn.qkv.weight": (4608, 1536)},
            "a checkpoint of Stable Diffusion 3",
            INTO_BASE,
        ),
        ({f"{MODEL}something.else": (3,)}, "a checkpoint", INTO_BASE),
        ({"blocks.0.self_attn.q.weight": (5120, 5120)}, "the denoiser of a base model alone (Wan)", ""),
        (
            {"double_blocks.0.img_attn.qkv.weight": (9216, 3072)},
            "the denoiser of a base model alone (FLUX.1)",
            "",
        ),
        (
            {"down_blocks.0.resnets.0.conv1.weight": (320, 320, 3, 3)},
            "the denoiser of a base model alone",
            WHOLE,
        ),
        (
            {"encoder.conv_in.weight": (128, 3, 3, 3), "decoder.conv_in.weight": (512, 4, 3, 3)},
            "an autoencoder (VAE)",
            PART,
        ),
        ({"first_stage_model.decoder.conv_in.weight": (512, 4, 3, 3)}, "an autoencoder (VAE)", PART),
        ({"text_model.encoder.layers.0.mlp.fc1.weight": (3072, 768)}, "a text or image encoder", PART),
        ({"encoder.block.0.layer.0.SelfAttention.q.weight": (4096, 4096)}, "a text or image encoder", PART),
        (
            {"control_model.input_hint_block.0.weight": (16, 3, 3, 3)},
            "a ControlNet",
            "ControlNets can't be used here.",
        ),
        (
            {"controlnet_cond_embedding.conv_in.weight": (16, 3, 3, 3), "down_blocks.0.x.weight": (3, 3)},
            "a ControlNet",
            "ControlNets can't be used here.",
        ),
        (
            {"lora_controlnet": (), "input_blocks.0.0.up": (320, 4)},
            "a ControlNet",
            "ControlNets can't be used here.",
        ),
        ({"ip_adapter.1.to_k_ip.weight": (320, 768)}, "an IP-Adapter", "IP-Adapters can't be used here."),
        ({"emb_params": (8, 768)}, EMBEDDING, NO_EMBEDDING),
        ({"clip_l": (8, 768), "clip_g": (8, 1280)}, EMBEDDING, NO_EMBEDDING),
        ({"<my-cat>": (1024,)}, EMBEDDING, NO_EMBEDDING),
        ({"conv_first.weight": (64, 3, 3, 3)}, "an upscaler", "Upscalers can't be used here"),
        ({"nobody.knows.weight": (3, 3)}, "a file of a kind that is not known here", "LoRA, LoCon"),
    ],
)
def test_a_file_that_is_no_lora_is_named_for_what_it_is(
    tmp_path: Path, names: dict[str, tuple[int, ...]], what: str, hint: str
) -> None:
    file = write_header(tmp_path / "it.safetensors", {name: ("F16", shape) for name, shape in names.items()})
    with pytest.raises(UnknownFormat) as caught:
        read_header(file)
    assert caught.value.message == f"it.safetensors is {what}, not a LoRA."
    assert caught.value.hint.startswith(hint)
    assert caught.value.hint


def test_a_mismatch_is_an_error_of_its_own(tmp_path: Path) -> None:
    write_header(tmp_path / "x" / "x.safetensors", table("sd2", "kohya", only="attn2"))
    (lora,) = find_loras([LoraUse(slug="x")], tmp_path)
    with pytest.raises(FamilyMismatch) as caught:
        check_fit(lora, layers_at("sd1"), "my base")
    assert caught.value.path.endswith("x.safetensors")
