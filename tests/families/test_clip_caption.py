from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import CLIPTokenizer

from lora_studio.families import family_of
from lora_studio.families.encoders.clip_caption import read_weights, tokenize
from tests.support.clip_texts import encode_captions
from tests.support.tiny import SHAPES

START, END = 188, 189
"""The marks' numbers in the tiny vocabulary."""


@pytest.fixture(scope="module")
def tokenizer(bases: dict[str, Path]) -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(bases["sd15"], subfolder="tokenizer")


@pytest.mark.parametrize(
    ("caption", "pieces"),
    [
        ("a disc", [("a disc", 1.0)]),
        ("a (red) disc", [("a ", 1.0), ("red", 1.1), (" disc", 1.0)]),
        ("a [red] disc", [("a ", 1.0), ("red", 1 / 1.1), (" disc", 1.0)]),
        ("a (red:1.3) disc", [("a ", 1.0), ("red", 1.3), (" disc", 1.0)]),
        ("(red:.5)(blue:-1)", [("red", 0.5), ("blue", -1.0)]),
        ("((red) disc)", [("red", 1.1 * 1.1), (" disc", 1.1)]),
        ("(a [red] (disc:2):1.5)", [("a ", 1.5), ("red", 1.5 / 1.1), (" ", 1.5), ("disc", 3.0)]),
        ("(red)(disc)", [("reddisc", 1.1)]),
        (r"a \(red\) \[disc\] \\", [(r"a (red) [disc] " + "\\", 1.0)]),
        ("12:30 o'clock", [("12:30 o'clock", 1.0)]),
        ("[red:1.3]", [("red:1.3", 1 / 1.1)]),
        ("a) b] (c", [("a) b] ", 1.0), ("c", 1.1)]),
        (":1.3)", [(":1.3)", 1.0)]),
        ("", [("", 1.0)]),
        ("()", [("", 1.0)]),
    ],
)
def test_brackets_are_the_webuis(caption: str, pieces: list[tuple[str, float]]) -> None:
    found = read_weights(caption)
    assert [piece for piece, _ in found] == [piece for piece, _ in pieces]
    assert [weight for _, weight in found] == pytest.approx([weight for _, weight in pieces])


def test_one_window_is_what_the_tokenizer_gives(tokenizer: CLIPTokenizer) -> None:
    captions = ["a disc", "", "x " * 200]
    wanted = tokenizer(captions, padding="max_length", truncation=True, max_length=77, return_tensors="pt")
    assert torch.equal(tokenize(tokenizer, captions).ids[:, 0], wanted.input_ids)
    assert torch.equal(tokenize(tokenizer, captions, 75).ids[:, 0], wanted.input_ids)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("length", "windows"), [(150, 2), (225, 3)])
def test_long_captions_fill_windows_of_75(
    bases: dict[str, Path], shape: str, length: int, windows: int
) -> None:
    last = "tokenizer_2" if shape == "sdxl" else "tokenizer"
    tokenizer = CLIPTokenizer.from_pretrained(bases[shape], subfolder=last)
    pad = tokenizer.pad_token_id
    assert (pad == END) == (shape == "sd15")
    letter = tokenizer("x", add_special_tokens=False).input_ids
    for count in (0, 74, 75, 76, 150, 300):
        ids = tokenize(tokenizer, ["x " * count], length).ids
        assert ids.shape == (1, windows, 77)
        kept = min(count, length)
        for number, window in enumerate(ids[0].tolist()):
            own = letter * max(0, min(75, kept - 75 * number))
            assert window == [START, *own, END, *[pad] * (75 - len(own))]


@torch.no_grad()
def test_windows_are_encoded_each_by_itself_and_joined(bases: dict[str, Path]) -> None:
    family = family_of(str(bases["sd15"]))
    parts = family.load()
    first, second = "x " * 75, "y " * 10
    joined = encode_captions(parts, [first + second], max_token_length=150).states
    assert joined.shape == (1, 152, 16)
    one, two = (encode_captions(parts, [half]).states for half in (first, second))
    torch.testing.assert_close(joined[:, :76], one[:, :76])
    torch.testing.assert_close(joined[:, 76:151], two[:, 1:76])
    torch.testing.assert_close(joined[:, 151:], two[:, 76:])


@torch.no_grad()
@pytest.mark.parametrize("shape", ["sd15", "sdxl"])
def test_weights_multiply_the_embedding_of_their_tokens(bases: dict[str, Path], shape: str) -> None:
    family = family_of(str(bases[shape]))
    parts = family.load()
    plain = encode_captions(parts, ["a red disc"])
    weighted = encode_captions(parts, ["a (red:1.3) [disc]"], weighted=True)
    by_hand = plain.states.clone()
    by_hand[:, 2:5] *= 1.3  # after the start mark and "a": r, e, d; the space has no token
    by_hand[:, 5:9] *= 1 / 1.1
    torch.testing.assert_close(weighted.states, by_hand)
    if plain.pooled is not None:
        assert torch.equal(plain.pooled, weighted.pooled)
    unread = encode_captions(parts, ["a (red:1.3) [disc]"]).states
    assert not torch.allclose(unread, weighted.states)


@torch.no_grad()
def test_weights_reach_the_second_window(bases: dict[str, Path]) -> None:
    family = family_of(str(bases["sd15"]))
    parts = family.load()
    caption = "x " * 80
    plain = encode_captions(parts, [caption, ""], max_token_length=150).states
    weighted = encode_captions(parts, [f"{caption}(y:2)", "(z)"], max_token_length=150, weighted=True).states
    same = encode_captions(parts, [f"{caption}y", "z"], max_token_length=150).states
    assert weighted.shape == plain.shape
    torch.testing.assert_close(weighted[0, 81], 2 * same[0, 81])
    torch.testing.assert_close(weighted[0, :81], same[0, :81])
    torch.testing.assert_close(weighted[1, 1], 1.1 * same[1, 1])
