"""Pictures that are denoised together are those that each gets alone, to the bit, whatever the kernels do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lora_studio.families import family_of
from lora_studio.families.base import TextOutput
from lora_studio.families.batching.lockstep import LITTLE, Lockstep, most_at_once, rows_by_picture
from lora_studio.families.ddpm import DDPM
from lora_studio.families.encoders.clip_encoder import PromptWindows
from lora_studio.families.sampling import Guidance, Sampler, Walk, sample
from lora_studio.runtime import Device
from tests.support.tiny import ALL_SHAPES, make_tiny

STEPS = 3
CPU = Device(kind="cpu", title="CPU", memory_bytes=0, native_bf16=False)
PROMPTS = ("a disc", "a dish", "a disc, " * 30, "a big disc")
"""Of one length, much longer, and a little longer."""
Make = Callable[[], list[Walk]]


def walk(
    base: Any,
    prompt: int,
    *,
    name: str = "Euler",
    size: tuple[int, int] = (8, 8),
    scale: float = 4.0,
    skip: int | None = None,
) -> Walk:
    """The beginning of one picture; with `skip` of a redrawing."""
    generator = torch.Generator().manual_seed(prompt)
    shape = (1, base.codec.channels, *size)
    sampler = Sampler(base.process, name, STEPS, size, skip=skip)
    drawn = torch.rand(shape, generator=generator)
    noise = torch.randn(shape, generator=generator)
    return Walk(
        sampler=sampler,
        latents=sampler.start(noise, None if skip is None else drawn),
        texts=base.prompts.encode_prompts(PROMPTS[prompt % 4], "", PromptWindows(clip_skip=1)),
        guidance=Guidance(scale=scale),
        generator=generator,
    )


def alone(base: Any, one: Walk) -> torch.Tensor:
    steps = sample(base, one.sampler, one.latents, one.texts, one.guidance, generator=one.generator)
    return list(steps)[-1].latents


def check(base: Any, make: Make, most: int = 4) -> list[int]:
    """Compare a round with each picture alone. Returns how many went together each time."""
    lockstep, walks = Lockstep(base), make()
    batches = lockstep.batches(walks, most)
    assert sorted(map(id, walks)) == sorted(id(one) for batch in batches for one in batch)
    for batch in batches:
        *_, last = lockstep.sample(batch)
        assert [step.number for step in last] == [len(batch[0].sampler)] * len(batch)
    assert all(torch.equal(one.latents, alone(base, other)) for one, other in zip(walks, make(), strict=True))
    return [len(batch) for batch in lockstep.batches(make(), most)]


@pytest.mark.parametrize(
    "shape",
    [
        shape if shape in ("sd15", "sdxl", "zimage") else pytest.param(shape, marks=pytest.mark.slow)
        for shape in ALL_SHAPES
    ],
)
@torch.no_grad()
def test_a_mixed_round_is_drawn_as_one_by_one(shape: str, tmp_path: Path) -> None:
    """Of other sizes, samplers, guidance, lengths of text and starts; `most` splits the batches."""
    base = family_of(str(make_tiny(shape, tmp_path / shape))).load()
    noisy = "Heun" if base.process.has_shift else "Euler a"

    def make() -> list[Walk]:
        plain = [walk(base, number) for number in range(4)]
        others = [walk(base, 0, scale=7.0), walk(base, 1, scale=1.0), walk(base, 0, size=(8, 16))]
        noise = [walk(base, number, name=noisy) for number in (0, 1)]
        return [*plain, *others, *noise, walk(base, 0, skip=1), walk(base, 1, skip=1)]

    check(base, make, most=2)


class Stub:
    """A base whose denoiser is a formula. With `by_company`, its answers depend on the size of a batch."""

    def __init__(self, *, by_company: bool = False) -> None:
        config = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
        self.process = DDPM.of({"_class_name": "DDIMScheduler", "num_train_timesteps": 1000, **config})
        self.codec = SimpleNamespace(channels=4, step=8, decoding_bytes=lambda pixels: 100 * pixels)
        self.denoiser = torch.nn.Linear(2, 2)
        self.embeds_guidance = False
        self.widths, self.dtype = (320, 8), torch.float32
        self.calls: list[int] = []
        self._by_company = by_company
        self.prompts = SimpleNamespace(encode_prompts=self._texts)

    def _texts(self, prompt: str, negative: str, how: PromptWindows) -> tuple[TextOutput, TextOutput]:
        wanted = torch.full((1, 77 * (1 + len(prompt) // 77), 2), len(prompt) / 100)
        return TextOutput(states=wanted), TextOutput(states=torch.zeros_like(wanted))

    def denoise(self, noisy: torch.Tensor, time: torch.Tensor, text: TextOutput, **_: Any) -> torch.Tensor:
        self.calls.append(len(noisy))
        told = text.states.mean(dim=(1, 2))[:, None, None, None]
        return noisy * 0.5 + told + (len(noisy) * 1e-7 if self._by_company else 0.0)


def test_the_denoiser_is_asked_about_all_at_once_after_one_trial() -> None:
    base = Stub()
    assert check(base, lambda: [walk(base, number % 2) for number in range(4)]) == [4]
    tried = [2, 2, 2, 2, 8]
    assert base.calls[: 4 + STEPS] == [*tried, *[8] * (STEPS - 1)]
    lockstep = Lockstep(base)
    for _ in range(2):
        base.calls.clear()
        list(lockstep.sample([walk(base, 0), walk(base, 1)]))
    assert base.calls == [4] * STEPS


def test_where_company_shows_each_goes_alone() -> None:
    base = Stub(by_company=True)
    assert check(base, lambda: [walk(base, number % 2) for number in range(4)]) == [1, 1, 1, 1]
    assert set(base.calls[5:]) == {2}


def test_one_by_itself_is_tried_by_nothing() -> None:
    base = Stub(by_company=True)
    assert check(base, lambda: [walk(base, 0)]) == [1]
    assert base.calls == [2] * 2 * STEPS


def test_rows_of_samples_go_by_picture_and_tokens_together() -> None:
    layer = torch.nn.Linear(3, 3)
    model, seen = torch.nn.Sequential(layer), list[tuple[int, ...]]()
    forward = layer.forward

    def spy(inputs: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(inputs.shape))
        return forward(inputs)

    for before in (None, spy):
        if before is not None:
            layer.forward = before  # as accelerate's hooks do
        with rows_by_picture(model, 2):
            assert model(torch.zeros(8, 3)).shape == (8, 3)
            assert model(torch.zeros(8, 5, 3)).shape == (8, 5, 3)
        assert vars(layer).get("forward") is before
    assert seen == [(2, 3)] * 4 + [(8, 5, 3)]


def test_as_many_go_together_as_the_memory_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    base: Any = Stub()
    each = 24 * 2 * 4 * 8 * 8 * 320
    assert most_at_once(base, CPU, (64, 64)) == LITTLE // each
    pixels = 1024 * 1024
    assert most_at_once(base, CPU, (1024, 1024)) == max(1, max(LITTLE, 100 * pixels) // (each * 256)) == 1
    base.codec = SimpleNamespace(step=8, decoding_bytes=lambda pixels: 4000 * pixels)
    monkeypatch.setattr("lora_studio.families.batching.lockstep.find_memory", lambda _: (64 * 10**9, 0))
    assert most_at_once(base, CPU, (1024, 1024)) == 4000 * pixels // (each * 256) == 4
    monkeypatch.setattr("lora_studio.families.batching.lockstep.find_memory", lambda _: (10 * each, 0))
    assert most_at_once(base, CPU, (64, 64)) == 9
    monkeypatch.setattr("lora_studio.families.batching.lockstep.find_memory", lambda _: (0, 0))
    assert most_at_once(base, CPU, (64, 64)) == 1
