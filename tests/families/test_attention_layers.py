"""What is left out of a denoiser's call changes no bit of its answer."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor2_0

from lora_studio.families import family_of
from lora_studio.families.attention_layers import TextReading
from lora_studio.families.encoders.text_output import TextOutput
from lora_studio.families.sampling import Guidance, Sampler, sample
from lora_studio.lora.network.layers import Change, put_on
from tests.support.tiny import SHAPES

STEPS = 3


def text_of(base, seed: int) -> TextOutput:
    config, generator = base.unet.config, torch.Generator().manual_seed(seed)
    states = torch.randn(1, 77, config.cross_attention_dim, generator=generator)
    pooled = torch.randn(1, 24, generator=generator) if base.text_encoder_2 else None
    return TextOutput(states=states, pooled=pooled)


def counted(denoiser: torch.nn.Module) -> dict[str, int]:
    """How often each layer that reads a text was computed, counted from now on."""
    calls: dict[str, int] = {}

    def count(name: str) -> None:
        calls[name] = 0

        def hook(*_: object) -> None:
            calls[name] += 1

        denoiser.get_submodule(name).register_forward_hook(hook)

    for path, layer in denoiser.named_modules():
        if isinstance(layer, Attention) and layer.is_cross_attention:
            count(f"{path}.to_k")
            count(f"{path}.to_v")
    assert calls
    return calls


@pytest.mark.parametrize("shape", SHAPES)
@torch.no_grad()
def test_a_text_is_read_once_a_picture_and_the_picture_is_the_same(
    bases: dict[str, Path], shape: str
) -> None:
    base = family_of(str(bases[shape])).load()
    texts = text_of(base, 1), text_of(base, 2)
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    calls = counted(base.denoiser)

    def latents_of(sampler: Sampler) -> torch.Tensor:
        steps = sample(
            base, sampler, noise, texts, Guidance(scale=4.0), generator=torch.Generator().manual_seed(4)
        )
        return list(steps)[-1].latents

    found = latents_of(Sampler(base.process, "Euler", STEPS, (8, 8)))
    assert set(calls.values()) == {1}
    sampler, latents = Sampler(base.process, "Euler", STEPS, (8, 8)), noise
    both = TextOutput.stack([texts[1], texts[0]])
    for time in sampler.times:
        seen = sampler.scaled(torch.cat([latents] * 2), time)
        away, towards = base.denoise(seen, time, both).chunk(2)
        latents = sampler.step(away + 4.0 * (towards - away), time, latents, torch.Generator().manual_seed(4))
    assert torch.equal(found, latents)
    assert set(calls.values()) == {1 + STEPS}


@torch.no_grad()
def test_another_text_and_another_lora_are_read_anew(bases: dict[str, Path]) -> None:
    base = family_of(str(bases["sd15"])).load()
    noise, time = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3)), torch.tensor(500)
    reading, first, second = TextReading(base.denoiser), text_of(base, 1), text_of(base, 2)
    plain = base.denoise(noise, time, second)
    for text in (first, second):
        with reading.in_use():
            found = base.denoise(noise, time, text)
    assert torch.equal(found, plain)

    layer = next(one for path, one in base.denoiser.named_modules() if path.endswith("attn2.to_k"))
    rank = torch.ones(2, layer.in_features), torch.ones(layer.out_features, 2)
    weights = {
        name: torch.nn.Parameter(value, requires_grad=False)
        for name, value in zip(("lora_down.weight", "lora_up.weight"), rank, strict=True)
    }
    handle = put_on(layer, [Change(kind="lora", base=layer, weights=weights, alpha=2.0)])
    with TextReading(base.denoiser).in_use():
        learned = base.denoise(noise, time, second)
    assert torch.equal(learned, base.denoise(noise, time, second))
    assert not torch.equal(learned, plain)
    handle.remove()


def test_the_layers_are_their_own_after_a_call_that_failed(bases: dict[str, Path]) -> None:
    unet = family_of(str(bases["sd15"])).load().unet
    layer = next(one for one in unet.modules() if isinstance(one, Attention) and one.is_cross_attention)
    wrong = torch.zeros(1, 4, 8, 8)
    with pytest.raises(RuntimeError), TextReading(unet).in_use():
        unet(wrong, 0, encoder_hidden_states=torch.zeros(1, 77, 3))
    assert isinstance(layer.to_k, torch.nn.Linear)
    assert layer.to_k is layer.get_submodule("to_k")


def test_diffusers_finds_the_signature_that_its_function_has(bases: dict[str, Path]) -> None:
    unet = family_of(str(bases["sd15"])).load().unet
    for layer in unet.modules():
        if isinstance(layer, Attention):
            assert isinstance(layer.processor, AttnProcessor2_0)
            assert inspect.signature(layer.processor.__call__) == inspect.signature(
                AttnProcessor2_0().__call__
            )
