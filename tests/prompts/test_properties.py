"""Weights, choices and tags of any prompt: what is written down by a rule of its own is what is read."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_studio.prompts.lora_tags import TAG, read_tag, write_tag
from lora_studio.prompts.prompt_weights import read_weights
from lora_studio.prompts.wildcards import choose
from lora_studio.request import LoraUse
from tests.support.properties import examples

NOWHERE = Path("there-is-no-folder")
WORDS = st.text(st.sampled_from("ab c,.é猫-"), min_size=1, max_size=6)
Pieces = list[tuple[str, float]]


@st.composite
def weighted(draw: st.DrawFn, depth: int = 3) -> tuple[str, Pieces]:
    """A text with brackets, and its pieces with the weights that the WebUI's rule gives them."""
    text, pieces = "", []
    for kind in draw(st.lists(st.sampled_from(["word", "escaped", "()", "[]", ":"]), min_size=1, max_size=3)):
        if kind == "escaped":
            word = draw(st.text(st.sampled_from("()[]\\"), min_size=1, max_size=3))
            inner, found = "".join(f"\\{sign}" for sign in word), [(word, 1.0)]
        elif kind == "word" or depth == 0:
            inner = draw(WORDS)
            found = [(inner, 1.0)]
        else:
            inside, found = draw(weighted(depth - 1))
            number = f"{draw(st.floats(0, 4)):.3f}"
            inner = {"()": f"({inside})", "[]": f"[{inside}]", ":": f"({inside}:{number})"}[kind]
            factor = {"()": 1.1, "[]": 1 / 1.1, ":": float(number)}[kind]
            found = [(piece, weight * factor) for piece, weight in found]
        text += inner
        pieces += found
    return text, pieces


def letters(pieces: Pieces) -> list[tuple[str, float]]:
    return [(letter, weight) for piece, weight in pieces for letter in piece]


@examples(150)
@given(weighted())
def test_brackets_in_brackets_multiply(made: tuple[str, Pieces]) -> None:
    text, pieces = made
    read = read_weights(text)
    assert "".join(piece for piece, _ in read) == "".join(piece for piece, _ in pieces)
    for (_, found), (_, wanted) in zip(letters(read), letters(pieces), strict=True):
        assert found == pytest.approx(wanted)


@examples(150)
@given(st.text(st.sampled_from("()[]:\\.1 ab+-"), max_size=30))
def test_whatever_the_brackets_are_the_words_stay_in_order(text: str) -> None:
    read = read_weights(text)
    words = re.sub(r"[^ab]", "", text)
    assert re.sub(r"[^ab]", "", "".join(piece for piece, _ in read)) == words
    assert all(first[1] != second[1] for first, second in pairwise(read))


@examples(100)
@given(st.text(max_size=40))
def test_a_text_with_its_brackets_escaped_has_no_weights(text: str) -> None:
    assert read_weights(re.sub(r"([()\[\]\\])", r"\\\1", text)) == [(text, 1.0)]


@st.composite
def chosen(draw: st.DrawFn, depth: int = 1) -> tuple[str, set[str]]:
    """A text with choices, and all that it may become."""
    text, outcomes = "", {""}
    for kind in draw(st.lists(st.sampled_from(["word", "escaped", "one", "two"]), min_size=1, max_size=2)):
        if kind == "escaped":
            inner, found = "\\{\\|\\}", {"{|}"}
        elif kind == "word" or depth == 0:
            inner = draw(WORDS)
            found = {inner}
        else:
            options = draw(st.lists(chosen(depth - 1), min_size=2, max_size=3))
            weights = [
                "",
                *draw(st.lists(st.sampled_from(["", "2::", "0.5::", "0::"]), min_size=2, max_size=2)),
            ]
            weighed = list(zip(weights, options, strict=False))
            bars = "|".join(weight + option for weight, (option, _) in weighed)
            live = [found for weight, (_, found) in weighed if weight != "0::"]
            if kind == "one" or len(live) < 2:
                inner, found = f"{{{bars}}}", set().union(*live)
            else:
                inner = f"{{2$$+$${bars}}}"
                pairs = ((a, b) for a in range(len(live)) for b in range(len(live)) if a != b)
                found = {f"{x}+{y}" for a, b in pairs for x in live[a] for y in live[b]}
        text += inner
        outcomes = {before + after for before in outcomes for after in found}
    return text, outcomes


@examples(120)
@given(made=chosen(), seed=st.integers(0, 2**32 - 1))
def test_a_choice_is_one_of_those_that_are_written(made: tuple[str, set[str]], seed: int) -> None:
    text, outcomes = made
    assert choose(text, seed, NOWHERE) in outcomes
    assert choose(text, seed, NOWHERE) == choose(text, seed, NOWHERE)


@examples(100)
@given(text=st.text(st.sampled_from("ab {}|$:1-\n"), max_size=30), seed=st.integers(0, 9))
def test_a_text_with_its_braces_escaped_comes_back(text: str, seed: int) -> None:
    assert choose(re.sub(r"([{}|])", r"\\\1", text), seed, NOWHERE) == text


WEIGHTS = st.floats(-4, 4, allow_nan=False)
USES = st.builds(
    LoraUse,
    slug=st.from_regex(r"[a-z0-9][a-z0-9-]{0,63}", fullmatch=True),
    weight=WEIGHTS,
    text_encoder_weight=st.none() | WEIGHTS,
    checkpoint=st.none() | st.integers(1, 10**6),
)


@examples(100)
@given(USES)
def test_a_tag_reads_back_to_the_bit(use: LoraUse) -> None:
    match = TAG.fullmatch(write_tag(use))
    assert match
    assert read_tag(match[1], lambda name: name) == use
