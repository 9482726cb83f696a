"""The one loop from noise to latents that generation and the previews of a training share.

The samplers are diffusers' schedulers. Legend: b pictures, c latent channels, h w latent height and width.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from lora_studio.errors import ConfigError
from lora_studio.families.attention_layers import TextReading
from lora_studio.families.encoders.text_output import TextOutput

if TYPE_CHECKING:
    from lora_studio.families.base import BaseModel, Process

Keep = Callable[[torch.Tensor, int], torch.Tensor]
"""Latents after a number of steps, with what a mask keeps put back."""
Ask = Callable[[Sequence[torch.Tensor], torch.Tensor], list[torch.Tensor]]
"""The denoiser's answers to what it sees at a time."""
DENOISING = 24
"""Copies of the first level's output that are in memory at once, for the wanted and the unwanted text each:
on a denoiser of SD 1.5's size 18 were measured."""


class Sampler:
    """A sampler of the catalog for one pass over a base's own noise, whatever a training does to that; `size`
    is height and width of the latents. It begins at a later step if wanted: of `steps` on the noise schedule
    the first `skip` are left out, and the latents that it is given have as much noise as belongs there. With
    `skip` None they are pure noise. Raises ConfigError for an unknown name, and for a number of steps that it
    can't do."""

    def __init__(
        self,
        process: Process,
        name: str,
        steps: int,
        size: tuple[int, int],
        *,
        skip: int | None = None,
        device: str = "cpu",
    ) -> None:
        scheduler = process.scheduler(name, size, steps)
        try:
            process.set_steps(scheduler, steps, size, device)
        except ValueError as error:
            raise ConfigError(
                f"The sampler {name} can't do {steps} steps.",
                "Take fewer steps, or another sampler.",
                field="num_inference_steps",
            ) from error
        self.scheduler = scheduler
        self._process = process
        self.is_partial = skip is not None
        first = (skip or 0) * scheduler.order
        self.times: torch.Tensor = scheduler.timesteps[first:]
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(first)
        self._options = inspect.signature(scheduler.step).parameters

    def __len__(self) -> int:
        """Calls of the denoiser; some samplers need more than one a step."""
        return len(self.times)

    def start(self, noise: torch.Tensor, latents: torch.Tensor | None = None) -> torch.Tensor:
        """The latents of the first step: pure noise, or `latents` with as much as belongs there."""
        if self.is_partial and latents is not None:
            return self.noised(latents, noise)
        if not hasattr(self.scheduler, "init_noise_sigma"):  # noise of a deviation of 1 is all there is
            return noise
        start: torch.Tensor = noise * self.scheduler.init_noise_sigma
        return start

    def noised(self, latents: torch.Tensor, noise: torch.Tensor, step: int = 0) -> torch.Tensor:
        """Latents with the noise that belongs before `step` of this pass, [b, c, h, w]; at the end none."""
        if step >= len(self):
            return latents
        time = self.times[step : step + 1]
        noisy: torch.Tensor = (
            self.scheduler.scale_noise(latents, time, noise)  # what diffusers calls it for flows
            if hasattr(self.scheduler, "scale_noise")
            else self.scheduler.add_noise(latents, noise, time)
        )
        return noisy

    def scaled(self, latents: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        """Latents as the denoiser takes them at this time."""
        if not hasattr(self.scheduler, "scale_model_input"):
            return latents
        seen: torch.Tensor = self.scheduler.scale_model_input(latents, time)
        return seen

    def step(
        self, answer: torch.Tensor, time: torch.Tensor, latents: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        """The latents one step on. Those samplers that add noise draw it from `generator`."""
        options = {"generator": generator, "eta": 0.0}
        accepted = {name: value for name, value in options.items() if name in self._options}
        after: torch.Tensor = self.scheduler.step(answer, time, latents, **accepted, return_dict=False)[0]
        return after

    def guess(self, seen: torch.Tensor, answer: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        """The clean latents that an answer to `seen` implies, [b, c, h, w] in 32 bit."""
        return self._process.guess(self.scheduler, seen, answer, time)


def usual_sampler(model: BaseModel) -> str:
    """The catalog's name for what a base is drawn with where nothing else is asked for."""
    return model.found.entry.sampler if model.found.entry else model.process.sampler


@dataclass(frozen=True, kw_only=True)
class Guidance:
    """Classifier-free guidance (Ho & Salimans 2022): above a `scale` of 1 the denoiser is asked twice, and
    its answer leads away from that to the unwanted text. `rescale` from 0 to 1 takes back what that adds in
    contrast (Lin et al. 2023). `distilled` is what a denoiser is told that takes a guidance; None: the usual
    one."""

    scale: float
    rescale: float = 0.0
    distilled: float | None = None


@dataclass(frozen=True, kw_only=True)
class Step:
    """A pass after `number` calls: `latents` [1, c, h, w], and on asking a `guess` at the clean ones."""

    number: int
    latents: torch.Tensor
    guess: Callable[[], torch.Tensor]


@dataclass(kw_only=True)
class Walk:
    """A picture on its way: its `latents` [1, c, h, w] as they are by now, at first as from `Sampler.start`,
    after `number` calls of the denoiser. `texts` are the wanted and the unwanted one; those samplers that add
    noise draw it from `generator`."""

    sampler: Sampler
    latents: torch.Tensor
    texts: tuple[TextOutput, TextOutput]
    guidance: Guidance
    generator: torch.Generator
    keep: Keep | None = None
    number: int = 0

    def advance(self, time: torch.Tensor, seen: torch.Tensor, answer: torch.Tensor) -> Step:
        """Take the denoiser's answer to `seen`, both [1, c, h, w], or [2, c, h, w] with guidance."""
        if len(answer) == 2:
            answer = guided(answer, self.guidance)
        answer = answer.to(self.latents.dtype)  # under autocast it isn't
        self.number += 1
        self.latents = self.sampler.step(answer, time, self.latents, self.generator)
        if self.keep is not None:
            self.latents = self.keep(self.latents, self.number)
        guess = _Guess(self.sampler, seen[-1:], answer, time)
        return Step(number=self.number, latents=self.latents, guess=guess)


class Question:
    """The denoiser asked about `walks` in one call, at each step anew: about each under its wanted text, with
    guidance under the unwanted one before. All have the same latents' shape, times and need of guidance."""

    def __init__(self, model: BaseModel, walks: Sequence[Walk]) -> None:
        self._model = model
        self._walks = walks
        guidance, device = walks[0].guidance, walks[0].latents.device
        self._embedded = embedded_of(model, guidance)
        self.rows = rows_of(model, guidance)
        asked = [text for walk in walks for text in reversed(walk.texts[: self.rows])]
        self._text = (TextOutput.stack(asked) if len(asked) > 1 else asked[0]).to(device)
        # Elsewhere than on a CPU this is a small part of a step, and memory is dear.
        self._reading = TextReading(model.denoiser) if device.type == "cpu" else None

    def seen(self, time: torch.Tensor) -> list[torch.Tensor]:
        """Each picture as the denoiser takes it, [1, c, h, w], or [2, c, h, w] with guidance."""
        return [
            walk.sampler.scaled(torch.cat([walk.latents] * 2) if self.rows == 2 else walk.latents, time)
            for walk in self._walks
        ]

    def answers(self, seen: Sequence[torch.Tensor], time: torch.Tensor) -> list[torch.Tensor]:
        """The answer to each picture, in its shape."""
        noisy = torch.cat(list(seen)) if len(seen) > 1 else seen[0]
        with self._reading.in_use() if self._reading else nullcontext():
            found = self._model.denoise(noisy, time, self._text, guidance=self._embedded)
        return list(found.split(self.rows))


def denoising_bytes(model: BaseModel, pixels: int) -> int:
    """Bytes that denoising a picture of so many pixels takes beside the weights, with guidance."""
    width, _ = model.widths
    return DENOISING * 2 * model.dtype.itemsize * (pixels // model.codec.step**2) * width


def embedded_of(model: BaseModel, guidance: Guidance) -> float | None:
    """The guidance that the denoiser is told."""
    return guidance.scale if model.embeds_guidance else guidance.distilled


def rows_of(model: BaseModel, guidance: Guidance) -> int:
    """The number of times that the denoiser is asked about one picture at each step."""
    return 2 if guidance.scale > 1 and not model.embeds_guidance else 1


@torch.no_grad()
def sample(
    model: BaseModel,
    sampler: Sampler,
    latents: torch.Tensor,
    texts: tuple[TextOutput, TextOutput],
    guidance: Guidance,
    *,
    generator: torch.Generator,
    keep: Keep | None = None,
) -> Iterator[Step]:
    """Walk from `latents` [1, c, h, w] (as from `Sampler.start`) to a picture's, one step at a time: whoever
    asks for no further step has stopped. `texts` are the wanted and the unwanted one. Equals diffusers' own
    pipelines to the bit."""
    yield from go_on(
        model,
        Walk(
            sampler=sampler, latents=latents, texts=texts, guidance=guidance, generator=generator, keep=keep
        ),
    )


@torch.no_grad()
def go_on(model: BaseModel, walk: Walk) -> Iterator[Step]:
    """Walk from wherever a picture is by now to its end."""
    if walk.number == len(walk.sampler):
        return
    question = Question(model, [walk])
    for (step,) in steps_of([walk], question, question.answers):
        yield step


def steps_of(walks: Sequence[Walk], question: Question, ask: Ask) -> Iterator[list[Step]]:
    """Let all walks, which are equally far, take one step after the other, by what the denoiser answers when
    it is asked."""
    for time in walks[0].sampler.times[walks[0].number :]:
        seen = question.seen(time)
        answers = ask(seen, time)
        yield [walk.advance(time, *both) for walk, *both in zip(walks, seen, answers, strict=True)]


def guided(answers: torch.Tensor, guidance: Guidance) -> torch.Tensor:
    """One answer of two, [2, c, h, w]: that to the unwanted text first."""
    away, towards = answers.chunk(2)
    answer = away + guidance.scale * (towards - away)
    if guidance.rescale > 0:
        axes = list(range(1, answer.ndim))
        plain = towards.std(dim=axes, keepdim=True)
        rescaled = answer * (plain / answer.std(dim=axes, keepdim=True))
        answer = guidance.rescale * rescaled + (1 - guidance.rescale) * answer
    return answer


@dataclass(frozen=True)
class _Guess:
    sampler: Sampler
    seen: torch.Tensor
    answer: torch.Tensor
    time: torch.Tensor

    def __call__(self) -> torch.Tensor:
        return self.sampler.guess(self.seen, self.answer, self.time)
