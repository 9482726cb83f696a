"""The recipe of the embedded base: what can be checked without its pictures."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from recipes.starter import model, settings
from recipes.starter.captions import Shown, bare_name, compose
from recipes.starter.gates import HUES, is_painted
from recipes.starter.recolour import PAINT, main_hue, recolour
from recipes.starter.report import SHEET
from recipes.starter.widen import widen


def test_a_widened_autoencoder_computes_what_the_narrow_one_does() -> None:
    torch.manual_seed(0)
    narrow = model.make_autoencoder(16, (8, 16)).eval()
    wide = widen(narrow).eval()
    pictures = torch.rand(2, 3, 16, 16) * 2 - 1
    with torch.no_grad():
        known, new = narrow.encode(pictures).latent_dist, wide.encode(pictures).latent_dist
        assert torch.allclose(known.mean, new.mean, atol=1e-4)
        assert torch.allclose(known.logvar, new.logvar, atol=1e-4)
        made = wide.decode(known.mean).sample
        assert torch.allclose(narrow.decode(known.mean).sample, made, atol=1e-4)
    assert tuple(wide.config.block_out_channels) == (16, 32)


def test_a_widened_autoencoder_can_learn_more_than_its_copies() -> None:
    torch.manual_seed(0)
    wide = widen(model.make_autoencoder(16, (8, 16)))
    wide(torch.rand(2, 3, 16, 16)).sample.square().mean().backward()
    gradient = wide.decoder.conv_in.weight.grad
    assert gradient is not None
    assert not torch.allclose(gradient[0::2], gradient[1::2])


def disc(colour: tuple[int, int, int]) -> np.ndarray:
    """A round thing, darker to the right, with a gray foot, on nothing; uint8 [32, 32, 4]."""
    across, down = np.meshgrid(np.arange(32), np.arange(32))
    picture = np.zeros((32, 32, 4), np.uint8)
    picture[..., :3] = np.array(colour) * (1 - across[..., None] / 80)
    picture[..., 3] = np.where((across - 16) ** 2 + (down - 16) ** 2 < 150, 255, 0)
    picture[28:, 12:20] = (120, 120, 120, 255)
    return picture


@pytest.mark.parametrize("name", [name for name in PAINT if name in HUES])
def test_painting_gives_the_named_colour_and_leaves_the_rest(name: str) -> None:
    red = disc((220, 30, 30))
    hue = main_hue(red)
    assert hue is not None
    painted = recolour(red, hue, name)
    low, high = HUES[name]
    found = main_hue(painted)
    assert found is not None
    assert low <= found <= high or low <= found + 1 <= high
    assert (painted[28:, 12:20] == red[28:, 12:20]).all(), "gray is not part of the main colour"
    assert (painted[..., 3] == red[..., 3]).all()
    shades = painted[16, 8:24, :3].astype(int).sum(axis=1)
    assert shades[0] > shades[-1], "shading is kept"


def test_a_gray_thing_has_no_colour_to_change() -> None:
    assert main_hue(disc((128, 128, 128))) is None


def test_the_gate_on_painted_things_can_fail() -> None:
    from PIL import Image

    def on_white(colour: tuple[int, int, int]) -> Image.Image:
        cut = Image.fromarray(disc(colour))
        canvas = Image.new("RGBA", cut.size, "white")
        canvas.alpha_composite(cut)
        return canvas.convert("RGB")

    assert is_painted("blue", on_white((40, 90, 220)))
    assert not is_painted("green", on_white((40, 90, 220)))
    assert not is_painted("blue", on_white((255, 255, 255)))


def test_only_the_default_style_goes_unnamed() -> None:
    random.seed(0)
    for style in settings.STYLES:
        texts = [compose(Shown("fox", style)) for _ in range(400)]
        named = sum(f"{style} style" in text for text in texts)
        assert named == 400 if style != settings.DEFAULT_STYLE else 0 < named < 400


def test_a_painted_thing_is_called_by_its_colour_and_its_bare_name() -> None:
    random.seed(0)
    texts = {compose(Shown("red-apple", "flat", "orange", "blue")) for _ in range(50)}
    assert all("blue apple" in text and "red" not in text for text in texts)
    assert all("on an orange background" in text for text in texts)


def test_things_whose_name_is_a_colour_are_not_painted() -> None:
    assert bare_name("blue-heart") is None
    assert bare_name("red-circle") is None
    assert bare_name("rainbow") is None
    assert bare_name("red-apple") == "apple"
    assert bare_name("star") == "star"


def test_no_name_stands_for_two_things() -> None:
    names = [name for known in settings.CONCEPTS.values() for name in known]
    assert len(names) == len(set(names))


def test_reserved_things_are_in_no_vocabulary() -> None:
    assert not set(settings.RESERVED) & set(settings.CONCEPTS)


def test_the_sheet_shows_things_styles_and_backgrounds() -> None:
    assert len(SHEET) == len(set(SHEET)) == 48
    assert all(any(f"{style} style" in prompt for prompt in SHEET) for style in settings.STYLES)
    assert all(any(f"{colour} background" in prompt for prompt in SHEET) for colour in settings.COLOURS)
    names = {name: slug for slug, known in settings.CONCEPTS.items() for name in known}
    shown = {slug for name, slug in names.items() for prompt in SHEET if _asks_for(prompt, name)}
    assert len(shown) >= 40


def _asks_for(prompt: str, name: str) -> bool:
    words = prompt.replace(",", " ").split()
    return any(words[n : n + len(name.split())] == name.split() for n in range(len(words)))


def test_openings_fit_vowels() -> None:
    random.seed(0)
    assert not any(" a o" in f" {compose(Shown('octopus', 'flat'))}" for _ in range(100))
