from __future__ import annotations

import pytest
from PIL import Image

from lora_studio.errors import ConfigError
from lora_studio.prompts.styles import SLOT, STYLES, Style, apply_style, size_for
from scripts import style_previews


@pytest.mark.parametrize("style", STYLES.values(), ids=lambda style: style.key)
def test_a_style_is_complete(style: Style) -> None:
    assert STYLES[style.key] is style
    assert style.prompt.count(SLOT) == style.starter.count(SLOT) == 1
    assert style.title
    assert style.purpose.endswith(".")
    assert len(style.prompt) + len(style.negative) < 400
    with Image.open(style.preview) as picture:
        assert (picture.format, picture.size) == ("WEBP", (style_previews.SIDE, style_previews.SIDE))
    assert style.preview.stat().st_size < 10_000


def test_the_starters_templates_are_of_its_own_words() -> None:
    card = (style_previews.Path(__file__).resolve().parent.parent / "models/starter/README.md").read_text(
        "utf-8"
    )
    for style in STYLES.values():
        rest = style.starter.replace(SLOT, "").replace(" background", "")
        for words in (part.strip() for part in rest.replace(",", " on a ").split("on a ")):
            assert words in card, f"the starter doesn't know {words!r}"
        assert style.subject in card


def test_every_style_looks_different() -> None:
    assert len({style.preview.read_bytes() for style in STYLES.values()}) == len(STYLES)
    assert len({style.prompt for style in STYLES.values()}) == len(STYLES)


def test_a_style_goes_around_the_prompt_and_after_the_negative_one() -> None:
    prompt, negative = apply_style(" a cat, ", "hats", "portrait", base="sd15")
    assert prompt == STYLES["portrait"].prompt.replace(SLOT, "a cat")
    assert negative == f"hats, {STYLES['portrait'].negative}"
    assert apply_style("a cat", "", "portrait")[1] == STYLES["portrait"].negative


def test_a_style_used_twice_is_there_once() -> None:
    for base in ("", "starter"):
        for key in STYLES:
            once = apply_style("a cat (big:1.2)", "x", key, base=base)
            assert apply_style(*once, key, base=base) == once


def test_the_starter_gets_its_own_words_and_nothing_unwanted() -> None:
    assert apply_style("cat", "", "sticker", base="starter") == ("cat, flat style", "")
    assert apply_style("cat", "x,", "sticker", base="starter") == ("cat, flat style", "x,")


def test_without_a_style_or_a_prompt() -> None:
    assert apply_style(" a cat,", "x,", "") == (" a cat,", "x,")
    prompt, _ = apply_style("", "", "sticker")
    assert prompt.startswith("die-cut sticker of")
    assert SLOT not in prompt
    assert apply_style("", "", "sticker", base="starter")[0] == "flat style"


@pytest.mark.parametrize("key", STYLES)
@pytest.mark.parametrize(("native", "step"), [(64, 8), (512, 64), (1024, 64)])
def test_a_size_has_the_styles_shape_and_the_bases_area(key: str, native: int, step: int) -> None:
    width, height = size_for(key, native, step)
    assert width % step == height % step == 0
    assert 0.8 < width * height / native**2 < 1.25
    across, down = STYLES[key].ratio
    assert (width > height) == (across > down)


def test_an_unknown_style_is_told() -> None:
    with pytest.raises(ConfigError, match="no style called 'x'") as caught:
        apply_style("a cat", "", "x")
    assert "portrait" in caught.value.hint
