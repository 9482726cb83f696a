"""What is in force for the next pictures, in words, and without one of it."""

from __future__ import annotations

from typing import Any

import pytest

from lora_studio.errors import ConfigError
from lora_studio.studio import Studio
from lora_studio.ui.generate.active_settings import NAMES, READ, chips, plain, without
from lora_studio.ui.generate.style_tiles import dress

PLAIN: dict[str, Any] = {name: "" for name in READ} | {name: plain(name) for name in NAMES}
PLAIN |= {"mode": "draw", "prompt": "a dog", "loras": [], "grid-x": "seed"}
TITLES = {"ink": "Ink", "sd15": "Stable Diffusion 1.5"}


def said(**values: Any) -> list[str]:
    return [chip.text for chip in chips({**PLAIN, **values}, TITLES)]


def test_the_defaults_have_no_chip() -> None:
    assert said() == []
    assert said(image="sum", mask_image="painted") == []  # not in force while new pictures are drawn


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"loras": ["ink", "gone"], "weight-0": 0.8}, ["Ink · 0.8"]),
        ({"mode": "grid", "grid-y": "guidance_scale"}, ["Grid: Seed × CFG scale"]),
        ({"mode": "redraw", "image": "sum"}, ["your picture is redrawn"]),
        ({"mode": "redraw", "mask_image": "painted"}, []),
        (
            {"mode": "grid", "image": "sum", "mask_image": "painted"},
            ["Grid: Seed", "your picture is redrawn", "only the painted part of it"],
        ),
        ({"base": "sd15", "guidance_scale": "2.5"}, ["Base model: Stable Diffusion 1.5", "CFG scale: 2.5"]),
        ({"prompt": dress("a dog", "", "portrait", "starter").prompt}, ["Style: Portrait"]),
        ({"hires_scale": 2.0, "insert_trigger": False}, ["no trigger words in front", "Hires upscale: 2"]),
    ],
)
def test_what_is_in_force_is_said(values: dict[str, Any], words: list[str]) -> None:
    assert said(**values) == words


@pytest.mark.parametrize(
    ("values", "name", "expected"),
    [
        ({"mode": "grid"}, "grid", {"mode": "draw"}),
        ({"prompt": dress("a dog", "", "portrait", "starter").prompt}, "style", {"prompt": "a dog"}),
        ({"mode": "redraw"}, "image", {"image": "", "mask_image": "", "mode": "draw"}),
        ({"hires_scale": 2}, "hires_scale", {"hires_scale": 1}),
        ({"base": "sd15"}, "base", {"base": "starter"}),
    ],
)
def test_each_can_be_taken_away(
    studio: Studio, values: dict[str, Any], name: str, expected: dict[str, Any]
) -> None:
    filling = without(name, {**PLAIN, **values}, studio)
    assert {key: filling[key] for key in expected} == expected


def test_one_lora_of_two_is_taken_away(studio: Studio) -> None:
    filling = without("lora:ink", {**PLAIN, "loras": ["sea", "ink"]}, studio)
    assert filling["loras"]["value"] == ["sea"]


def test_a_grid_over_a_picture_stays_one_without_it(studio: Studio) -> None:
    assert "mode" not in without("image", {**PLAIN, "mode": "grid"}, studio)


def test_what_is_no_chip_is_refused(studio: Studio) -> None:
    with pytest.raises(ConfigError):
        without("prompt", PLAIN, studio)
