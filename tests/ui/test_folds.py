"""Styles, grids and the count of tokens: what the folds of the Generate tab make of what is in them."""

from __future__ import annotations

import gradio as gr
import pytest

from lora_studio.errors import ConfigError
from lora_studio.grids.grid_cells import plan_grid
from lora_studio.grids.grid_request import PARAMETERS
from lora_studio.prompts.styles import STYLES
from lora_studio.request import GenerateRequest
from lora_studio.studio import Studio
from lora_studio.ui.generate.grid_fields import EXAMPLES, build_grid
from lora_studio.ui.generate.style_tiles import dress, sizes, tiles, undress
from lora_studio.ui.generate.token_counter import token_count
from tests.support.html import parse


@pytest.mark.parametrize("base", ["starter", "sd15"])
@pytest.mark.parametrize("style", STYLES)
def test_a_style_is_put_on_changed_and_taken_off(style: str, base: str) -> None:
    worn = dress("a dog, running", "blurry", style, base)
    assert "a dog, running" in worn.prompt
    assert worn.prompt != "a dog, running"
    assert worn.style == style
    off = dress(worn.prompt, worn.negative, style, base)
    assert (off.prompt, off.style) == ("a dog, running", "")
    for other in STYLES:
        if other != style:
            changed = dress(worn.prompt, worn.negative, other, base)
            assert changed == dress("a dog, running", off.negative, other, base)


def test_a_person_s_own_words_are_no_style() -> None:
    assert undress("a dog", "blurry", "starter").style == ""
    assert undress("", "", "starter").style == ""
    with pytest.raises(ConfigError, match="no style"):
        dress("a dog", "", "nonsense", "starter")


def test_a_style_brings_its_shape_but_leaves_a_size_that_was_typed() -> None:
    width, height = sizes("portrait", "sd15", ("", ""))
    assert int(width) < int(height)
    assert sizes("landscape", "sd15", (width, height)) != (width, height)
    assert sizes("product", "sd15", (width, height)) == ("", "")
    assert sizes("portrait", "sd15", ("640", "640")) == (gr.skip(), gr.skip())
    assert sizes("portrait", "starter", ("", "")) == (gr.skip(), gr.skip())


def test_the_tiles_say_which_one_is_worn() -> None:
    shown = parse(tiles("poster"))
    pressed = [
        button.get("data-style") for button in shown.iter("button") if button.get("aria-pressed") == "true"
    ]
    assert pressed == ["poster"]
    assert len(list(shown.iter("button"))) == len(STYLES)


def test_axes_in_use_come_first() -> None:
    request = GenerateRequest(prompt="a dog")
    grid = build_grid(request, ["", "seed", "sampler", "", "1, 2", "DDIM, Euler a, UniPC"])
    assert grid.x.parameter == "seed"
    assert grid.y is not None
    assert grid.y.parameter == "sampler"
    plan = plan_grid(grid)
    assert (plan.columns, plan.rows, len(plan.cells)) == (2, 3, 6)


@pytest.mark.parametrize(
    ("axes", "said"),
    [
        (["", "", "", "", "", ""], "The axis X must be given"),
        (["seed", "", "", "", "", ""], "values"),
        (["secret", "", "", "1", "", ""], "secret"),
        (["seed", "seed", "", "1", "2", ""], "seed"),
    ],
)
def test_what_is_no_grid_is_named(axes: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        plan_grid(build_grid(GenerateRequest(prompt="a dog"), axes))


@pytest.mark.parametrize("parameter", EXAMPLES)
def test_the_examples_in_grey_are_good_values(parameter: str) -> None:
    assert parameter in PARAMETERS
    request = GenerateRequest(prompt="a dog, red", loras=[{"slug": "my-lora"}], negative_prompt="blurry")
    plan = plan_grid(build_grid(request, [parameter, "", "", EXAMPLES[parameter], "", ""]))
    assert 1 <= len(plan.cells) <= 16


def test_tokens_are_counted_without_tags_and_weights(studio: Studio) -> None:
    settings = studio.settings
    assert "2 of 75 tokens" in token_count("a dog <lora:ink:0.5>", "starter", settings)
    assert "2 of 75 tokens" in token_count("a (dog:1.3)", "nowhere", settings)
    assert "in 2 parts" in token_count("dog " * 80, "starter", settings)
    assert token_count("", "starter", settings) == ""
    assert token_count(None, None, settings) == ""
