"""One image: its passes through the denoiser with progress, stopping and a check of what comes out.

A redrawing starts a pass on a later step, a mask puts the known part back after each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from PIL import Image

from lora_studio.errors import ConfigError, Diverged, StudioError
from lora_studio.events import ShouldStop
from lora_studio.families.batching.lockstep import LITTLE, Lockstep, most_at_once
from lora_studio.families.sampling import Guidance, Keep, Sampler, Step, Walk, denoising_bytes, go_on
from lora_studio.families.vae import Moments
from lora_studio.families.weights.silence_libraries import quiet_libraries
from lora_studio.generation.initial_noise import InitialNoise
from lora_studio.generation.requests.settled_request import (
    SettledImage,
    Size,
    has_second_pass,
    skipped,
    stretched,
)
from lora_studio.request import GenerateRequest
from lora_studio.runtime import memory_errors

if TYPE_CHECKING:
    from lora_studio.families.base import TextOutput
    from lora_studio.generation.init_image import InitImage
    from lora_studio.generation.pipelines import LoadedBase

SMALLER = "Take a smaller size, or close other programs."
OnSteps = Callable[[Sequence[Step], int], None]
"""Called after each step of pictures that go together with where each is, and the steps that one takes."""
OnStep = Callable[[int, int, Step], None]
"""Called after each denoising step with (step, steps), counted over all passes of the image, and where it
is. Some samplers evaluate the model more often than asked."""


@dataclass(frozen=True, kw_only=True)
class ProgressReporter:
    """An onlooker: `should_stop` is asked after each step and between passes; `note` hears a sentence."""

    on_step: OnStep
    should_stop: ShouldStop
    note: Callable[[str], None]


class _Stopped(Exception):
    """Leaves the loop without decoding what is there so far."""


@dataclass(frozen=True, kw_only=True)
class _Known:
    """A masked picture's known part: its latents, the noise they begin with, `mask`, 1 where redrawn."""

    latents: torch.Tensor
    noise: torch.Tensor
    mask: torch.Tensor

    def putting_back(self, sampler: Sampler) -> Keep:
        def keep(latents: torch.Tensor, step: int) -> torch.Tensor:
            """`latents` before step `step`, with the known part as noisy as belongs there."""
            noisy = sampler.noised(self.latents, self.noise, step)
            return ((1 - self.mask) * noisy + self.mask * latents).to(latents.dtype)

        return keep


class Drawing:
    """One image in the making. `text` is the encoded prompt and its negative, `source` what is redrawn. A
    `begun` walk, of an image that is nothing but one pass from noise, goes on where it is."""

    def __init__(
        self,
        base: LoadedBase,
        image: SettledImage,
        text: tuple[TextOutput, TextOutput],
        source: InitImage | None,
        watch: ProgressReporter,
        begun: Walk | None = None,
    ) -> None:
        self._base = base
        self._model, self._codec = base.model, base.model.codec
        self._request = image.request
        self._hires = image.hires
        self._text = text
        self._source = source
        self._watch = watch
        self._begun = begun
        self._device = base.device.kind
        self._guidance = Guidance(
            scale=image.request.guidance_scale or 0.0,
            rescale=image.request.guidance_rescale,
            distilled=image.request.distilled_guidance_scale if base.model.takes_guidance else None,
        )

    def begin(self) -> Walk:
        """The walk of an image from noise before its first step. Raises ConfigError."""
        self._reset()
        sampler = self._first_sampler()
        return self._walk(sampler, self._start(sampler)[0])

    def picture(self) -> Image.Image | None:
        """The image, the same at each call, or None when it was stopped. Raises ConfigError (a sampler that
        can't do so many steps), OutOfMemory, Diverged."""
        self._reset()
        # An error may have cut it off in the middle, or come with other weights: what is tried again is new.
        begun, self._begun = self._begun, None
        try:
            with quiet_libraries():
                if begun is not None and not self._base.savers.rungs:
                    return self._codec.to_picture(self._pass(begun))
                return self._passes()
        except (_Stopped, StudioError) as error:
            self._base.rest()
            if isinstance(error, StudioError):
                raise
            return None

    def _reset(self) -> None:
        self._noise = InitialNoise(self._request)
        self._steps_done = self._steps = 0
        self._size: Size = (self._request.width or 0, self._request.height or 0)

    def _passes(self) -> Image.Image:
        first = self._first_sampler()
        second = self._second_sampler() if has_second_pass(self._request) else None
        self._steps = len(first) + (len(second) if second else 0)
        latents, kept = self._start(first)
        if second is None:
            drawn = self._codec.to_picture(self._pass(self._walk(first, latents, kept)))
            return self._source.finish(drawn) if self._source else drawn
        if self._request.hires_upscaler == "latent":
            clean = self._larger_latents(self._pass(self._walk(first, latents, kept), decode=False))
        else:
            clean = self._larger_picture(self._pass(self._walk(first, latents, kept)))
        self._size = self._hires
        self._stop_if_asked()
        noisy = second.start(self._draw_noise(clean.shape), clean)
        return self._codec.to_picture(self._pass(self._walk(second, noisy)))

    def _first_sampler(self) -> Sampler:
        request, source = self._request, self._source
        steps = request.num_inference_steps or 1
        # As diffusers does it: nothing of what a mask covers is seen at full strength.
        from_noise = source is None or (source.mask is not None and request.strength == 1)
        return self._sampler(steps, None if from_noise else skipped(steps, request.strength), self._size)

    def _second_sampler(self) -> Sampler:
        request = self._request
        steps, strength = request.hires_steps or 1, request.hires_strength
        try:
            return self._sampler(*stretched(steps, strength, self._model.process.times), self._hires)
        except ConfigError:  # the sampler has no schedule as fine as that
            return self._sampler(steps, skipped(steps, strength), self._hires)

    def _sampler(self, steps: int, skip: int | None, size: Size) -> Sampler:
        process, shift = self._model.process, self._request.shift
        process = process if shift is None else process.with_shift(shift)
        name, latents = self._request.sampler, self._codec.latents_size(*size)
        return Sampler(process, name, steps, latents, skip=skip, device=self._device)

    def _start(self, sampler: Sampler) -> tuple[torch.Tensor, _Known | None]:
        """The latents of the first pass's beginning, and the part of the source that a mask keeps."""
        source = self._source
        if source is None:
            shape = (1, self._codec.channels, *self._codec.latents_size(*self._size))
            return sampler.start(self._draw_noise(shape)), None
        clean = self._sampled(source.moments)
        mask = source.latent_mask(self._codec.step)
        if mask is not None:  # as in diffusers; the layout decides over the last bits of what comes of it
            clean = clean.contiguous()
        noise = self._draw_noise(clean.shape)
        kept = None if mask is None else _Known(latents=clean, noise=noise, mask=mask.to(clean))
        return sampler.start(noise, clean), kept

    def _walk(self, sampler: Sampler, latents: torch.Tensor, kept: _Known | None = None) -> Walk:
        return Walk(
            sampler=sampler,
            latents=latents,
            texts=self._text,
            guidance=self._guidance,
            generator=self._noise.generator,
            keep=None if kept is None else kept.putting_back(sampler),
        )

    def _pass(self, walk: Walk, *, decode: bool = True) -> torch.Tensor:
        """Pixels [1, 3, H, W] in 0..1, or the latents, at the end of a walk that is anywhere by now."""
        steps_before, self._steps = self._steps_done, self._steps or len(walk.sampler)
        with self._errors():
            for step in go_on(self._model, walk):
                self._steps_done = steps_before + step.number
                self._watch.on_step(self._steps_done, self._steps, step)
                self._stop_if_asked()
            self._last = walk.latents
            self._check_finite(self._last)
            found = self._decoded() if decode else self._last
        self._base.rest()
        return found

    @torch.no_grad()
    def _decoded(self) -> torch.Tensor:
        pixels = self._codec.decode(self._last)
        return pixels if _is_finite(pixels) else self._decoded_exactly()

    def _decoded_exactly(self) -> torch.Tensor:
        """The pixels in 32 bit, for an autoencoder that overflows in half precision, as that of SDXL does."""
        if self._codec.dtype != torch.float32:
            pixels = self._codec.decode_exactly(self._last)
            if _is_finite(pixels):
                self._watch.note(
                    "The picture came out of the autoencoder as no numbers (NaN), so it was decoded again in "
                    "32 bit. LORA_STUDIO_PRECISION=fp32 avoids that."
                )
                return pixels
        raise _no_numbers(self._request)

    def _larger_latents(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents enlarged as A1111's "Latent" does."""
        size = self._codec.latents_size(*self._hires)
        return torch.nn.functional.interpolate(latents, size, mode="bilinear")

    def _larger_picture(self, pixels: torch.Tensor) -> torch.Tensor:
        drawn = self._codec.to_picture(pixels)
        larger = drawn.resize(self._hires, Image.Resampling.LANCZOS)
        self._stop_if_asked()
        with self._errors(), torch.no_grad():
            latents = self._sampled(self._codec.encode(self._codec.to_pixels(larger)))
        self._base.rest()  # the second pass is the largest: the autoencoder's memory is its own
        return latents

    def _sampled(self, moments: Moments) -> torch.Tensor:
        noise = self._noise.draw(moments.mean.shape, moments.mean.dtype)
        return self._codec.sample(moments, noise, self._model.dtype)

    def _draw_noise(self, shape: Sequence[int]) -> torch.Tensor:
        return self._noise.draw(shape, self._model.dtype).to(self._device)

    def _stop_if_asked(self) -> None:
        if self._watch.should_stop():
            raise _Stopped

    def _check_finite(self, tensor: torch.Tensor) -> None:
        if not _is_finite(tensor):
            raise _no_numbers(self._request)

    def _errors(self) -> AbstractContextManager[None]:
        width, height = self._size
        return memory_errors(f"drawing {width} × {height} pixels", SMALLER)


def most_together(base: LoadedBase, request: GenerateRequest) -> int:
    """The count of a request's pictures that may go through the denoiser together: 1 for more than one pass
    from noise, where memory is short, and for large pictures, which gain nothing."""
    if request.image or has_second_pass(request) or base.savers.rungs:
        return 1
    width, height = request.width or 0, request.height or 0
    room = LITTLE // denoising_bytes(base.model, width * height)
    return max(1, min(room, most_at_once(base.model, base.device, (width, height))))


def walks_together(
    base: LoadedBase, drawings: Sequence[Drawing], loras: object, on_steps: OnSteps, should_stop: ShouldStop
) -> list[Walk]:
    """The walks of the first drawings, of as many as are alike, with `loras` on the base: at their ends, or
    after one step where company would change a bit, for each to go on by itself; or wherever they were
    stopped. None where the first has no company. Raises ConfigError, OutOfMemory."""
    state = loras, base.savers.qtype
    if state not in base.locksteps:
        base.locksteps.clear()
        base.locksteps[state] = Lockstep(base.model)
    lockstep = base.locksteps[state]
    try:
        with quiet_libraries(), memory_errors("drawing pictures together", SMALLER):
            walks = [drawing.begin() for drawing in drawings]
            alike = lockstep.batches(walks, len(walks))[0]
            alike = [one for one, other in zip(walks, alike, strict=False) if one is other]
            if len(alike) < 2:
                return []
            for steps in lockstep.sample(alike):
                total = len(alike[0].sampler)
                if not lockstep.keeps_bits(alike) and steps[0].number < total:
                    break
                on_steps(steps, total)
                if should_stop():
                    break
            return alike
    finally:
        base.rest()


def _is_finite(tensor: torch.Tensor) -> bool:
    return bool(tensor.isfinite().all())


def _no_numbers(request: GenerateRequest) -> Diverged:
    weights = "Lower the weights of the LoRAs, or leave one out" if request.loras else "Try another sampler"
    return Diverged(
        f"The picture of seed {request.seed} came out as no numbers (NaN).",
        f"{weights}. LORA_STUDIO_PRECISION=fp32 helps where half precision is too coarse.",
    )
