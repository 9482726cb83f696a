"""Words that a LoRA brings along ("bundled embeddings"): in a prompt their vectors stand for their tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors.torch import load_file, save_file

from lora_studio.families.encoders.bundled_embeddings import BundledEmbedding, TokenReading
from lora_studio.families.encoders.clip_prompt import windows_of
from lora_studio.generation.lora_lookup import WantedLora
from lora_studio.generation.lora_stack import LoraStack
from lora_studio.lora.file.lora_files import read_header
from lora_studio.lora.network.layer_fit import MOST_WORDS
from tests.support.clip_texts import encode
from tests.support.drawing import Draw, MakeLora, pixels
from tests.support.loras import write_lora
from tests.support.tiny import make_tiny_base, make_tiny_sdxl

STANDINGS = ("~", "^")
"""Words of the vocabulary whose own vectors are replaced, to compare with."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_base(tmp_path_factory.mktemp("base"))


def vectors(count: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def with_standing(pipe: Any, part: str, own: torch.Tensor) -> None:
    tokenizer = pipe.tokenizer if part == "text_encoder" else pipe.tokenizer_2
    table = getattr(pipe, part).get_input_embeddings()
    for word, vector in zip(STANDINGS, own, strict=False):
        (token,) = tokenizer(word, add_special_tokens=False).input_ids
        table.weight.data[token] = vector


@pytest.mark.parametrize("text", ["a {} cat", "{}", "a (very {}:1.3) cat BREAK {}"])
def test_its_vectors_are_read_where_the_word_stands(base: Path, text: str) -> None:
    pipe, other = (StableDiffusionPipeline.from_pretrained(base) for _ in range(2))
    own = vectors(2, 16)
    word = BundledEmbedding("my-word", {"text_encoder": own})
    got = encode(pipe, text.replace("{}", "my-word"), "bad my-word", words=[word])
    with_standing(other, "text_encoder", own)
    wanted = encode(other, text.replace("{}", "~ ^"), "bad ~ ^")
    for name, states in wanted.items():
        torch.testing.assert_close(got[name], states)
    plain = encode(pipe, text.replace("{}", "my-word"), "")
    assert not torch.allclose(got["prompt_embeds"], plain["prompt_embeds"])
    torch.testing.assert_close(encode(pipe, "a cat", "", words=[word]), encode(pipe, "a cat", ""))


def test_each_text_encoder_has_its_own(tmp_path: Path) -> None:
    folder = make_tiny_sdxl(tmp_path / "xl")
    pipe, other = (StableDiffusionXLPipeline.from_pretrained(folder) for _ in range(2))
    own = {"text_encoder": vectors(1, 16), "text_encoder_2": vectors(1, 24, seed=1)}
    got = encode(pipe, "a word", "", words=[BundledEmbedding("word", own)])
    for part, table in own.items():
        with_standing(other, part, table)
    wanted = encode(other, "a ~", "")
    for name, states in wanted.items():
        torch.testing.assert_close(got[name], states)


def test_the_longer_name_counts_and_a_window_does_not_cut_a_word() -> None:
    words = [BundledEmbedding("ab", {"x": vectors(3, 4)}), BundledEmbedding("abc", {"x": vectors(2, 4)})]
    reading = TokenReading(lambda text: [ord(letter) for letter in text], words, "x")
    assert sorted(set(reading("xabcyab"))) == [-6, -5, -3, -2, -1, ord("x"), ord("y")]
    windows = windows_of(reading, "z" * 74 + "ab")
    assert [len(window) for window in windows] == [74, 3]


def test_words_in_a_row_are_cut_between_each_other() -> None:
    words = [BundledEmbedding(name, {"x": vectors(40, 4, seed)}) for seed, name in enumerate("ab")]
    reading = TokenReading(lambda text: [ord(letter) for letter in text], words, "x")
    windows = windows_of(reading, "abba")
    assert [len(window) for window in windows] == [40] * 4
    first = [token for token, _ in windows[0]]
    assert [token for token, _ in windows[3]] == first == list(range(-1, -41, -1))


def test_a_file_brings_its_words_along(base: Path, tmp_path: Path) -> None:
    pipe = StableDiffusionPipeline.from_pretrained(base)
    file = write_lora(tmp_path / "x.safetensors", base)
    own, wide = vectors(2, 16), vectors(2, 99)
    more = {"bundle_emb.mine.string_to_param.*": own, "bundle_emb.wide.string_to_param.*": wide}
    save_file({**load_file(file), **more}, file)
    stack = LoraStack(pipe.components, "tiny")
    (note,) = stack.apply([WantedLora(slug="x", weight=1.0, header=read_header(file))])
    assert "bundle_emb.wide" in note
    assert "bundle_emb.mine" not in note
    (word,) = stack.words
    assert word.name == "mine"
    assert torch.equal(word.vectors["text_encoder"], own)
    stack.apply([])
    assert stack.words == ()


def test_so_many_words_of_a_file_are_read_and_no_more(base: Path, tmp_path: Path) -> None:
    file = write_lora(tmp_path / "x.safetensors", base)
    more = {f"bundle_emb.w{number}.string_to_param.*": vectors(1, 16) for number in range(MOST_WORDS + 30)}
    save_file({**load_file(file), **more}, file)
    stack = LoraStack(StableDiffusionPipeline.from_pretrained(base).components, "tiny")
    (note,) = stack.apply([WantedLora(slug="x", weight=1.0, header=read_header(file))])
    assert len(stack.words) == MOST_WORDS
    assert "30 of its parts are left out" in note


def test_a_picture_is_drawn_with_it(draw: Draw, make_lora: MakeLora) -> None:
    file = make_lora("bundle")
    usual = pixels(*draw(loras=["bundle"], prompt="a mine cat"))
    tensors = load_file(file)
    save_file({**tensors, "bundle_emb.mine.string_to_param.*": vectors(2, 16)}, file)
    assert pixels(*draw(loras=["bundle"], prompt="a mine cat")) != usual
