"""The recipe of the flow base: what can be checked without its pictures."""

from __future__ import annotations

import pytest
import torch
from diffusers import ZImageTransformer2DModel
from diffusers.models.transformers.transformer_z_image import ZSingleStreamAttnProcessor

from lora_studio.families.encoders.chat_encoder import ChatEncoder
from lora_studio.families.encoders.clip_encoder import CaptionWindows
from recipes.starter import settings as first
from recipes.starter_flow import model, settings, tokenizer
from recipes.starter_flow.report import SHEET
from recipes.starter_flow.text_to_image import draw_sigmas


@pytest.fixture
def transformer() -> ZImageTransformer2DModel:
    torch.manual_seed(0)
    made = model.make_transformer(heads=1, layers=1)
    torch.nn.init.normal_(made.cap_pad_token)
    return made.eval()


def test_the_batch_is_denoised_as_diffusers_denoises_each(transformer: ZImageTransformer2DModel) -> None:
    noisy, sigmas = torch.randn(2, 4, 16, 16), torch.tensor([0.3, 0.9])
    texts = torch.randn(2, model.TEXT_TOKENS, model.TEXT_WIDTH)
    lengths = (5, model.TEXT_TOKENS)
    is_text = torch.arange(model.TEXT_TOKENS)[None] < torch.tensor(lengths)[:, None]
    with torch.no_grad():
        ours = model.BatchedDenoiser(transformer, 16)(noisy, sigmas, texts, is_text)
        for module in transformer.modules():
            if isinstance(getattr(module, "processor", None), model.PlainAttention):
                module.set_processor(ZSingleStreamAttnProcessor())
        rows = [text[:length] for text, length in zip(texts, lengths, strict=True)]
        theirs = transformer(list(noisy[:, :, None]), 1 - sigmas, rows, return_dict=False)[0]
    assert torch.allclose(ours, -torch.stack(theirs)[:, :, 0], atol=1e-5)
    assert ours.std() > 0.01


def test_it_begins_by_answering_nothing(transformer: ZImageTransformer2DModel) -> None:
    model.begin_quietly(transformer)
    texts, is_text = torch.randn(1, 32, model.TEXT_WIDTH), torch.ones(1, 32, dtype=torch.bool)
    denoiser = model.BatchedDenoiser(transformer, 8)
    assert not denoiser(torch.randn(1, 4, 8, 8), torch.tensor([0.5]), texts, is_text).any()


def test_noise_is_drawn_between_its_ends_and_most_in_the_middle() -> None:
    torch.manual_seed(0)
    drawn = draw_sigmas(4000, even=0.2)
    assert 0 <= drawn.min() < 0.02 < 0.98 < drawn.max() <= 1
    middle = ((drawn > 0.25) & (drawn < 0.75)).float().mean()
    assert 0.65 < middle < 0.75  # half of the even fifth, 0.73 of the rest


def test_the_sheet_shows_each_thing_once_and_every_background() -> None:
    assert len(SHEET) == len(set(SHEET)) == len(settings.CONCEPTS) == 48
    assert all(any(f"{colour} background" in prompt for prompt in SHEET) for colour in first.COLOURS)
    for slug in settings.CONCEPTS:
        assert any(_names(prompt, first.CONCEPTS[slug]) for prompt in SHEET), slug


def _names(prompt: str, names: tuple[str, ...]) -> bool:
    bare = prompt.removeprefix("a picture of ").removeprefix("a ").removesuffix(", 3d style")
    return bare.split(" on a")[0] in names


def test_no_reserved_thing_is_drawn() -> None:
    assert not set(settings.CONCEPTS) & set(first.RESERVED)


def test_the_training_reads_captions_as_the_app_does() -> None:
    torch.manual_seed(0)
    tokens = tokenizer.load(settings.MODEL / "tokenizer")
    encoder = model.make_text_encoder(tokens).eval()
    captions = ["an emoji of a jack o lantern on an orange background, abcde style", "a dog"]
    states, is_text = model.read(encoder, tokens, captions)
    app = ChatEncoder(lambda: encoder, tokens, layers=[-2], longest=512)
    for caption, ours, length in zip(captions, states, is_text.sum(1), strict=True):
        theirs = app.encode_captions([caption], CaptionWindows()).states[0]
        assert len(theirs) == length <= model.TEXT_TOKENS
        assert torch.allclose(ours[:length], theirs, atol=1e-5)
