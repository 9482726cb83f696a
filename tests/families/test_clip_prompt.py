from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from lora_studio.families import family_of
from lora_studio.families.encoders.clip_prompt import count_tokens, windows_of
from tests.support.clip_texts import encode
from tests.support.tiny import SHAPES

LONG = "x " * 100
COMMA, OTHER = 1, 2


@pytest.fixture(scope="module")
def pipes(bases: dict[str, Path]) -> dict[str, Any]:
    families = {shape: family_of(str(folder)) for shape, folder in bases.items()}
    return {shape: family.load().pipeline() for shape, family in families.items()}


def diffusers_own(pipe: Any, prompt: str, negative: str, clip_skip: int | None = None) -> list[Any]:
    values = {"negative_prompt": negative, "do_classifier_free_guidance": True, "clip_skip": clip_skip}
    return list(pipe.encode_prompt(prompt, device="cpu", num_images_per_prompt=1, **values))


@torch.no_grad()
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("negative", ["", "grey, blurred"])
def test_a_plain_prompt_is_diffusers_own_to_the_bit(pipes: dict[str, Any], shape: str, negative: str) -> None:
    for prompt in ("a disc, it's 12:30 o'clock", "", "Größe 猫 {x} __", "x " * 75):
        ours = list(encode(pipes[shape], prompt, negative).values())
        wanted = diffusers_own(pipes[shape], prompt, negative)
        assert len(ours) == len(wanted) == (4 if shape == "sdxl" else 2)
        for tensor, other in zip(ours, wanted, strict=True):
            assert torch.equal(tensor, other)


@torch.no_grad()
@pytest.mark.parametrize("shape", SHAPES)
def test_clip_skip_counts_layers_from_the_end(pipes: dict[str, Any], shape: str) -> None:
    pipe = pipes[shape]
    usual, skipped = (encode(pipe, "a disc", "", clip_skip=skip) for skip in (1, 2))
    skip = 2
    if shape == "sdxl":
        # What this family uses is the layer before the last already.
        assert torch.equal(usual["prompt_embeds"], skipped["prompt_embeds"])
        skip = 3
        skipped = encode(pipe, "a disc", "", clip_skip=skip)
        assert torch.equal(skipped["prompt_embeds"], diffusers_own(pipe, "a disc", "", 1)[0])
    else:
        tokens = pipe.tokenizer("a disc", padding="max_length", return_tensors="pt").input_ids
        layer = pipe.text_encoder(tokens, output_hidden_states=True).hidden_states[-2]
        assert torch.equal(skipped["prompt_embeds"], pipe.text_encoder.final_layer_norm(layer))
    assert not torch.allclose(usual["prompt_embeds"], skipped["prompt_embeds"])
    # Both texts come from the same layer, other than in diffusers.
    assert torch.equal(
        encode(pipe, "", "", clip_skip=skip)["prompt_embeds"], skipped["negative_prompt_embeds"]
    )
    assert encode(pipe, "a", "", clip_skip=12)["prompt_embeds"].isfinite().all()


@torch.no_grad()
@pytest.mark.parametrize("shape", SHAPES)
def test_weights_equal_an_embedding_made_by_hand(pipes: dict[str, Any], shape: str) -> None:
    pipe = pipes[shape]
    plain = encode(pipe, "a red disc", "grey")
    weighted = encode(pipe, "a (red: 1.3) [disc]", "((grey))")
    by_hand = plain["prompt_embeds"].clone()
    by_hand[:, 2:5] *= 1.3  # after the start mark and "a": r, e, d; the space has no token
    by_hand[:, 5:9] *= 1 / 1.1
    torch.testing.assert_close(weighted["prompt_embeds"], by_hand)
    by_hand = plain["negative_prompt_embeds"].clone()
    by_hand[:, 1:5] *= 1.1 * 1.1
    torch.testing.assert_close(weighted["negative_prompt_embeds"], by_hand)
    if shape == "sdxl":
        assert torch.equal(plain["pooled_prompt_embeds"], weighted["pooled_prompt_embeds"])


@torch.no_grad()
@pytest.mark.parametrize("shape", SHAPES)
def test_windows_are_encoded_each_by_itself_and_the_shorter_text_is_padded(
    pipes: dict[str, Any], shape: str
) -> None:
    pipe = pipes[shape]
    found = encode(pipe, f"{'x ' * 75}(y:2) y", "grey")
    first, second = (encode(pipe, text, "") for text in ("x " * 75, "(y:2) y"))
    name, other = "prompt_embeds", "negative_prompt_embeds"
    assert found[name].shape == found[other].shape == (1, 154, first[name].shape[-1])
    torch.testing.assert_close(found[name], torch.cat([first[name], second[name]], dim=1))
    grey = encode(pipe, "grey", "")
    torch.testing.assert_close(found[other], torch.cat([grey[name], grey[other]], dim=1))
    if shape == "sdxl":
        pooled = "pooled_prompt_embeds"
        torch.testing.assert_close(found[pooled], first[pooled])
        torch.testing.assert_close(found[f"negative_{pooled}"], grey[pooled])
    many = encode(pipe, "grey", LONG)
    assert many[name].shape == many[other].shape == (1, 154, first[name].shape[-1])


@torch.no_grad()
def test_break_ends_a_window(pipes: dict[str, Any]) -> None:
    pipe = pipes["sd15"]
    broken = encode(pipe, "red BREAK blue", "")["prompt_embeds"]
    red, blue = (encode(pipe, colour, "")["prompt_embeds"] for colour in ("red", "blue"))
    torch.testing.assert_close(broken, torch.cat([red, blue], dim=1))
    heavy = encode(pipe, "(red BREAK blue:1.5)", "")["prompt_embeds"]
    assert heavy.shape == broken.shape
    torch.testing.assert_close(heavy[:, 1:4], 1.5 * broken[:, 1:4])
    assert encode(pipe, "a BREAKING break", "")["prompt_embeds"].shape[1] == 77


@torch.no_grad()
def test_the_pipeline_takes_what_comes_out(pipes: dict[str, Any]) -> None:
    for pipe in pipes.values():
        given = encode(pipe, f"(a:1.2) {LONG}", "grey")
        called = {"num_inference_steps": 1, "output_type": "np", "width": 64, "height": 64}
        assert pipe(**given, **called, generator=torch.Generator().manual_seed(0)).images.shape[1:] == (
            64,
            64,
            3,
        )


def letters(text: str) -> list[int]:
    return [COMMA if letter == "," else OTHER for letter in text.replace(" ", "")]


@pytest.mark.parametrize(
    ("text", "lengths"),
    [
        ("", [0]),
        ("x" * 75, [75]),
        ("x" * 76, [75, 1]),
        ("x" * 151, [75, 75, 1]),
        (f"{'x' * 60},{'y' * 20}", [61, 20]),
        (f"{'x' * 54},{'y' * 30}", [75, 10]),
        (f"{'x' * 55},{'y' * 30}", [56, 30]),
        (f"{'x' * 60},{'y' * 14},z", [75, 2]),
        ("a BREAK b", [1, 1]),
        ("a BREAK", [1]),
        ("BREAK b", [0, 1]),
        ("a BREAK BREAK b", [1, 0, 1]),
        (f"{'x' * 70} BREAK b", [70, 1]),
    ],
)
def test_a_window_ends_at_75_tokens_or_the_comma_before(text: str, lengths: list[int]) -> None:
    assert [len(window) for window in windows_of(letters, text)] == lengths


@pytest.mark.parametrize(
    "text",
    ["", "a red disc", "it's (12:30:1.2), ok", LONG, "a BREAK b", "Größe 猫 🐈", "<|endoftext|>", "  x"],
)
def test_tokens_are_counted_alike_from_tokenizer_and_folder(
    pipes: dict[str, Any], bases: dict[str, Path], text: str, tmp_path: Path
) -> None:
    folder = bases["sd15"]
    counted = count_tokens(pipes["sd15"].tokenizer, text)
    assert count_tokens(folder, text) == count_tokens(folder / "tokenizer", text) == counted
    assert (folder / "tokenizer" / "tokenizer.json").is_file()
    for name in ("vocab.json", "merges.txt"):
        source = folder / "tokenizer" / name
        if source.is_file():
            (tmp_path / name).write_bytes(source.read_bytes())
    if (tmp_path / "vocab.json").is_file():
        assert count_tokens(tmp_path, text) == counted


def test_counts(bases: dict[str, Path]) -> None:
    assert count_tokens(bases["sd15"], "a (red:1.3) disc") == (8, 1)
    assert count_tokens(bases["sd15"], LONG) == (100, 2)
    assert count_tokens(bases["sd15"], "") == (0, 1)
    with pytest.raises(FileNotFoundError, match="no tokenizer"):
        count_tokens(bases["sd15"] / "vae", "x")


def test_counting_loads_neither_torch_nor_transformers() -> None:
    code = (
        "import sys; from lora_studio.families.encoders.clip_prompt import count_tokens;"
        "print(count_tokens('models/starter', 'a red cat'), *({'torch', 'transformers'} & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["(3,", "1)"]
