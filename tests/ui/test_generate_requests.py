"""From the fields of the Generate tab to a request, and back."""

from __future__ import annotations

from typing import Any

import gradio as gr
import numpy
import pytest
from PIL import Image
from safetensors.numpy import save_file

from lora_studio.errors import ConfigError, ModelFileError, StoreError, StudioError
from lora_studio.grids.grid_request import PARAMETERS
from lora_studio.records import LoraRecord
from lora_studio.request import GenerateRequest
from lora_studio.samplers import FLOW_SAMPLERS, SAMPLERS
from lora_studio.studio import Studio
from lora_studio.ui.endpoints.image_endpoints import ImageEndpoints
from lora_studio.ui.generate import generate_requests
from lora_studio.ui.generate.generate_requests import (
    DRAW,
    GRID,
    LABELS,
    NUMBERS,
    REDRAW,
    SLOTS,
    TEXT_WEIGHTS,
    WEIGHTS,
    WORDS,
    build_request,
    defaults_of,
    ideas_for,
    slots,
    use_request,
)
from lora_studio.ui.generate.grid_fields import GRID_FIELDS
from tests.support.html import data_url

FIELDS: dict[str, Any] = {"prompt": "a dog", "loras": [], "base": "starter", "insert_trigger": True}
LAYER = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_k"
SUM = "0123456789abcdef" * 4


def lora(slug: str) -> LoraRecord:
    """A row in the library, as a scan makes it."""
    return LoraRecord(
        id=slug * 8,
        slug=slug,
        title=slug.upper(),
        path=f"/m/{slug}/{slug}.safetensors",
        family="",
        base="starter",
        trigger_word=f"t{slug}",
        kind="style",
    )


@pytest.fixture
def three(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> Studio:
    records = {slug: lora(slug) for slug in ("one", "two", "three")}
    monkeypatch.setattr(studio.gallery, "lora", lambda slug: records[slug])
    monkeypatch.setattr(studio.gallery, "loras", lambda search="": list(records.values()))
    return studio


def test_empty_fields_leave_the_base_s_own_values(studio: Studio) -> None:
    assert build_request(FIELDS, studio) == GenerateRequest(prompt="a dog")
    empty = dict.fromkeys((*NUMBERS, *WORDS), "")
    assert build_request({**empty, **FIELDS}, studio) == GenerateRequest(prompt="a dog")


def test_what_is_typed_is_taken(three: Studio) -> None:
    typed = {
        **FIELDS,
        **{"loras": ["two", "one"], "weight-0": 0.5, "weight-1": None, "text-weight-1": "0,25"},
        **{"count": "3", "seed": " 7 ", "clip_skip": 2},
        **{
            "guidance_scale": "2,5",
            "num_inference_steps": "9",
            "guidance_rescale": 0.7,
            "distilled_guidance_scale": "2,5",
            "shift": "3,5",
        },
        **{"hires_scale": 1.5, "hires_upscaler": "latent", "image_format": "webp"},
        **{"image": SUM, "mask_image": SUM},
        **{"variation_strength": 0.25, "variation_seed": "8", "padding_mask_crop": "32", "mask_blur": "0"},
    }
    assert build_request(typed, three) == GenerateRequest(
        prompt="a dog",
        loras=[{"slug": "two", "weight": 0.5}, {"slug": "one", "text_encoder_weight": 0.25}],
        count=3,
        seed=7,
        guidance_scale=2.5,
        num_inference_steps=9,
        clip_skip=2,
        guidance_rescale=0.7,
        distilled_guidance_scale=2.5,
        shift=3.5,
        hires_scale=1.5,
        hires_upscaler="latent",
        image_format="webp",
        image=SUM,
        mask_image=SUM,
        variation_strength=0.25,
        variation_seed=8,
        padding_mask_crop=32,
        mask_blur=0,
    )


def test_a_mask_without_its_picture_is_left_out(studio: Studio) -> None:
    assert build_request({**FIELDS, "mask_image": SUM}, studio).mask_image == ""


def test_a_picture_is_redrawn_in_the_modes_that_show_it(studio: Studio) -> None:
    values = {**FIELDS, "image": SUM, "mask_image": SUM}
    for mode, wanted in ((DRAW, ""), (REDRAW, SUM), (GRID, SUM)):
        request = build_request({**values, "mode": mode}, studio)
        assert (request.image, request.mask_image) == (wanted, wanted)


def test_a_mask_that_was_just_painted_is_taken_in(studio: Studio) -> None:
    painted = data_url(Image.new("L", (64, 64), 255))
    mask = build_request({**FIELDS, "image": SUM, "mask_image": painted}, studio).mask_image
    assert (studio.settings.inputs / f"{mask}.png").is_file()
    for wrong in ("data:image/png;base64,%%%", "data:text/html,x", "/etc/passwd"):
        with pytest.raises(StudioError):
            build_request({**FIELDS, "image": SUM, "mask_image": wrong}, studio)


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"count": "0"}, ConfigError, "Pictures"),
        ({"width": "65"}, ConfigError, "Width"),
        ({"num_inference_steps": "1.5"}, ConfigError, "Steps"),
        ({"num_inference_steps": "1000"}, ConfigError, "Steps"),
        ({"guidance_scale": "much"}, ConfigError, "CFG scale"),
        ({"guidance_scale": True}, ConfigError, "CFG scale: a number is needed"),
        ({"base": "/etc"}, ConfigError, "/etc"),
        ({"base": None}, ConfigError, "base"),
        ({"loras": ["../x"]}, StoreError, "LoRA"),
        ({"loras": ["missing"]}, StoreError, "missing"),
        ({"prompt": "x" * 10_001}, ConfigError, "Prompt"),
        ({"image": "../../etc/passwd"}, ConfigError, "Picture to redraw"),
        ({"image_format": "exe"}, ConfigError, "File format"),
        ({"hires_scale": 9}, ConfigError, "Hires upscale"),
        ({"mode": "redraw"}, ConfigError, "no picture to redraw"),
    ],
)
def test_what_is_wrong_is_named(studio: Studio, changes: dict[str, Any], error: type, said: str) -> None:
    with pytest.raises(error, match=said):
        build_request({**FIELDS, **changes}, studio)


def test_every_setting_of_a_request_is_on_the_page_and_comes_back(three: Studio) -> None:
    request = GenerateRequest(
        prompt="a dog",
        negative_prompt="blur",
        base="starter",
        insert_trigger=False,
        loras=[{"slug": "one", "weight": 0.3, "text_encoder_weight": 0.0}, {"slug": "two"}],
        num_inference_steps=9,
        guidance_scale=2.5,
        width=64,
        height=96,
        seed=0,
        sampler="Euler a",
        clip_skip=2,
        guidance_rescale=0.5,
        distilled_guidance_scale=4,
        shift=6,
        variation_seed=3,
        variation_strength=0.2,
        strength=0.6,
        mask_blur=2,
        padding_mask_crop=16,
        hires_scale=2,
        hires_steps=5,
        hires_strength=0.4,
        hires_upscaler="latent",
        image_format="jpeg",
    )
    filling, missing = use_request(three, request)
    assert missing == []
    values = {**filling, **{name: filling[name]["value"] for name in ("loras", "sampler")}}
    assert build_request(values, three) == request
    untouched = {
        name
        for name, field in GenerateRequest.model_fields.items()
        if getattr(request, name) == field.default and name not in ("base", "count")
    }
    assert untouched == {"image", "mask_image"}  # a setting that is added belongs into this test


def test_numbers_come_back_as_their_field_takes_them(three: Studio) -> None:
    """Gradio's sliders break over text, and over numbers beyond their ends."""
    from lora_studio.ui.generate import generate_tab

    request = GenerateRequest(
        clip_skip=12, strength=0.01, hires_scale=4, loras=[{"slug": "one", "weight": 3}], seed=5
    )
    filling, missing = use_request(three, request)
    assert missing == ["The weight 3 of “one” is set to 2."]
    with gr.Blocks():
        tab = generate_tab.render(three)
    for name, value in filling.items():
        part = tab.fields.get(name)
        if isinstance(part, gr.Slider):
            assert part.preprocess(value) == value, name
        elif isinstance(part, gr.Textbox):
            assert isinstance(value, str), name


def test_what_is_not_here_is_named_and_the_rest_filled_in(three: Studio) -> None:
    request = GenerateRequest(
        prompt="a cat", base="deliberate_v2", image=SUM, loras=[{"slug": "gone"}, {"slug": "two"}]
    )
    filling, missing = use_request(three, request)
    assert (filling["prompt"], filling["order"], filling["base"]) == ("a cat", ["two"], "starter")
    assert (filling["image"], filling["mask_image"]) == ("", "")
    for sentence, word in zip(missing, ("gone", "deliberate_v2", "redrawn from"), strict=True):
        assert word in sentence


def test_a_tag_by_a_title_that_is_not_here_is_named(three: Studio) -> None:
    """Such tags stay in the prompt; the drawing would refuse them."""
    request = GenerateRequest(prompt="a <lora:猫の絵:0.8> cat <lora:猫の絵:1> <lora:My <b>:1>")
    filling, missing = use_request(three, request)
    assert filling["prompt"] == request.prompt
    (sentence,) = missing
    assert "猫の絵" in sentence
    (three.settings.loras / "mao").mkdir(parents=True)
    save_file(
        {f"{LAYER}.lora_{way}.weight": numpy.ones((2, 2), "float32") for way in ("down", "up")},
        three.settings.loras / "mao" / "mao.safetensors",
        metadata={"modelspec.title": "猫の絵"},
    )
    assert use_request(three, request)[1] == []


def test_a_weight_stays_with_its_lora(three: Studio) -> None:
    values = [0.3, 0.7, *[1] * (SLOTS - 2), "0.1", "", *[""] * (SLOTS - 2)]
    values[SLOTS + 1] = "0.2"
    *parts, order, chips = slots(three, ["two", "three"], ["one", "two"], values)
    sliders, boxes = parts[:SLOTS], parts[SLOTS:]
    assert order == ["two", "three"]
    assert [slider["label"] for slider in sliders[:2]] == ["Weight of TWO", "Weight of THREE"]
    # A new one, and one that stays where it is, keep what their place holds.
    assert [part.get("value") for part in (sliders[0], boxes[0])] == [0.7, "0.2"]
    assert [part["value"] for part in (sliders[2], boxes[2])] == [1, ""]
    assert not any("value" in part for part in (sliders[1], boxes[1]))
    for kind in (sliders, boxes):
        assert [part["visible"] for part in kind] == [True] * 2 + [False] * (SLOTS - 2)
    assert "tthree" in chips
    assert "tone" not in chips


def test_using_a_lora_fills_in_a_prompt_about_it(three: Studio) -> None:
    filling = generate_requests.use_lora(three, "two")
    assert "ttwo" in filling["prompt"]
    assert filling["loras"]["value"] == filling["order"] == ["two"]
    assert (filling["weight-0"], filling["text-weight-0"]) == (1, "")
    assert filling["base"] == "starter"


def test_form_and_axes_say_the_same() -> None:
    for name in PARAMETERS.keys() & GenerateRequest.model_fields.keys():
        assert LABELS[name].removesuffix(" (px)") == PARAMETERS[name]
    assert len(set(LABELS.values())) == len(LABELS)


def test_ideas_and_defaults_follow_the_base() -> None:
    assert defaults_of("starter")["width"] == "64"
    assert set(defaults_of("someone/else").values()) == {"automatic"}
    assert all("dog" in idea for idea in ideas_for("starter"))
    assert all("lighthouse" in idea for idea in ideas_for("someone/else"))


def test_the_page_has_a_field_for_each_name(studio: Studio) -> None:
    from lora_studio.ui.generate import generate_tab

    with gr.Blocks():
        tab = generate_tab.render(studio)
    wanted = {"mode", "loras", "compare", "base", "insert_trigger", *WORDS, *NUMBERS, *WEIGHTS, *TEXT_WEIGHTS}
    wanted |= set(GRID_FIELDS)
    assert set(tab.fields) == wanted
    assert len(tab.filling({"seed": "7"})) == len(tab.filled)


@pytest.mark.parametrize("base", ["", "starter", "z-image", "Tongyi-MAI/Z-Image"])
def test_the_api_lists_the_samplers_of_a_base(studio: Studio, base: str) -> None:
    """As the page does."""
    listed = ImageEndpoints(studio).list_samplers(base)
    assert listed == list(FLOW_SAMPLERS if "mage" in base else SAMPLERS)
    with pytest.raises(ModelFileError):
        ImageEndpoints(studio).list_samplers("/etc")
